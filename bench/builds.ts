import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { busyboxRoot } from '../test/builds/bases.ts';
import { Buildah } from '../test/builds/buildah.ts';
import { Contree } from '../test/builds/contree.ts';
import { command } from '../scripts/support/command.ts';
import { clientOfSocket } from '../test/support/client.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';
import { sample, timeMs } from './support/measure.ts';

const STEPS = 20;
/** Large context: so many files of so many bytes. */
const [FILES, FILE_BYTES] = [64, 16 * 2 ** 20];

/** Measures builds: cold, one line changed, fully cached, beside buildah; and what a changed file of a large context sends. */
export async function benchBuilds(_place: Place, report: Report): Promise<void> {
  report.section('Builds');
  const folder = await mkdtemp(join(tmpdir(), 'contree-bench-builds-'));
  try {
    await using contree = new Contree(folder);
    const base = await busyboxRoot(folder);
    await using buildah = await Buildah.open(folder).catch(() => undefined);
    await buildah?.imageOf(base, 'localhost/base', ['--cmd', '["sh"]']);
    await importBase(contree, base, folder);
    const ours = (context: string) => timeMs(() => contree.run(['build', '-t', 'built', context]));
    const theirs = (context: string) =>
      buildah && timeMs(() => buildah.build(context, 'localhost/built', ['--layers']));
    for (const [what, changed, budget] of [
      ['cold', 0, undefined],
      ['one line of the middle changed', 1, undefined],
      ['nothing changed', 1, 300],
    ] as const) {
      const context = await contextOf(folder, changed);
      const [own, peer] = [await ours(context), await theirs(context)];
      const cached = budget === undefined ? own : (await sample(5, () => ours(context))).medianMs;
      report.add({
        what: `a build of ${STEPS} instructions, ${what}`,
        value: cached,
        unit: 'ms',
        ...(budget !== undefined && { budget: { atMost: budget } }),
        peer: peer === undefined ? 'buildah is not installed' : `buildah ${peer.toFixed(0)} ms`,
      });
    }
    await benchContext({ contree, buildah, folder }, report);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function importBase(contree: Contree, root: string, folder: string): Promise<void> {
  const archive = join(folder, 'base.tar');
  await command('tar', ['-C', root, '-cf', archive, '.']);
  await contree.run(['import', archive, '--tag', 'base']);
  // The engine looks for a sandbox when something runs for the first time; that does not count as building.
  await contree.run(['run', 'base', '--', 'true']);
}

/** Makes a context whose Dockerfile has one command and one variable in turn; `changed` changes one in the middle. */
async function contextOf(folder: string, changed: number): Promise<string> {
  const context = join(folder, 'steps');
  await mkdir(context, { recursive: true });
  const steps = Array.from({ length: STEPS - 1 }, (_, step) => {
    const value = step === STEPS / 2 ? changed : 0;
    return step % 2 === 0 ? `RUN echo ${step} ${value} >> /steps` : `ENV STEP=${step}`;
  });
  await writeFile(join(context, 'Dockerfile'), `FROM base\n${steps.join('\n')}\n`);
  return context;
}

async function benchContext(
  {
    contree,
    buildah,
    folder,
  }: { readonly contree: Contree; readonly buildah: Buildah | undefined; readonly folder: string },
  report: Report,
): Promise<void> {
  const context = join(folder, 'large');
  await mkdir(context);
  await writeFile(join(context, 'Dockerfile'), 'FROM base\nCOPY . /large\n');
  const write = (index: number, mark: string): Promise<void> =>
    writeFile(join(context, `file-${index}`), Buffer.alloc(FILE_BYTES, `${index} ${mark} `));
  for (let index = 0; index < FILES; index += 1) await write(index, 'first');
  const theirs = () => buildah && timeMs(() => buildah.build(context, 'localhost/large', ['--layers']));
  await contree.run(['build', context]);
  await theirs();
  await write(7, 'changed');
  const since = new Date();
  const value = await timeMs(() => contree.run(['build', context]));
  await using client = clientOfSocket(join(folder, 'data', 'engine.sock'));
  const files = await client.uploads.list({ since });
  const sent = files.filter(({ created_at: made }) => Date.parse(made) >= since.getTime());
  const bytes = sent.reduce((sum, { size }) => sum + size, 0);
  const peer = await theirs();
  report.add({
    what: '1 GiB context, one file of 16 MiB changed: build',
    value,
    unit: 'ms',
    peer: peer === undefined ? 'buildah is not installed' : `buildah ${peer.toFixed(0)} ms`,
  });
  report.add({ what: 'of it sent', value: bytes / 2 ** 20, unit: 'MiB', budget: { atMost: FILE_BYTES / 2 ** 20 } });
}
