import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LocalFolders } from '../src/transfer/local-folders.ts';
import type { SyncReport } from '../src/transfer/local-files.ts';
import { sampleOf, timeMs } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const FILES = 5_000;
const ROUNDS = 5;

const execute = promisify(execFile);

/** A tree as a project has it: 100 directories, files of 1 to 6 KiB. Every round has contents of its own. */
async function writeTree(folder: string, round: number): Promise<void> {
  for (let index = 0; index < FILES; index += 1) {
    if (index < 100) await mkdir(join(folder, `d${index}`), { recursive: true });
    await writeFile(
      join(folder, `d${index % 100}`, `f${index}.ts`),
      `// ${round} ${index}\n`.repeat(100 + (index % 400)),
    );
  }
}

async function edit(folder: string, turn: string): Promise<void> {
  for (let index = 0; index < 3; index += 1) {
    await writeFile(join(folder, `d${index}`, `f${index}.ts`), `edited ${turn} ${index}\n`);
  }
}

/** `rsync -a` where it is installed, else `cp -a`: neither makes anything that a run could be given. */
async function peerCopy(): Promise<{
  readonly name: string;
  readonly copy: (from: string, to: string) => Promise<unknown>;
}> {
  try {
    await execute('rsync', ['--version']);
    return { name: 'rsync -a', copy: (from, to) => execute('rsync', ['-a', '--delete', `${from}/`, to]) };
  } catch {
    return { name: 'cp -a', copy: (from, to) => execute('cp', ['-a', `${from}/.`, to]) };
  }
}

/** rsync of 5,000 files: first, unchanged, and with three of them changed. */
export async function benchTransfer({ contree }: Pick<Place, 'contree'>, report: Report): Promise<void> {
  report.section('Transfers');
  const top = await mkdtemp(join(tmpdir(), 'contree-bench-transfer-'));
  const local = new LocalFolders({ roots: [top], cache: { path: join(top, 'cache', 'hashes.db'), keptDays: 60 } });
  const { signal } = new AbortController();
  const sync = (source: string): Promise<SyncReport> =>
    local.sync(contree, { source, destination: '/work', exclude: [] }, { signal });
  const peer = await peerCopy();
  const times = { first: [] as number[], unchanged: [] as number[], changed: [] as number[] };
  const peers = { first: [] as number[], unchanged: [] as number[], changed: [] as number[] };
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const [source, copy] = [join(top, `source-${round}`), join(top, `copy-${round}`)];
      await writeTree(source, round);
      await mkdir(copy);
      times.first.push(await timeMs(() => sync(source)));
      peers.first.push(await timeMs(() => peer.copy(source, copy)));
      times.unchanged.push(await timeMs(() => sync(source)));
      peers.unchanged.push(await timeMs(() => peer.copy(source, copy)));
      await edit(source, `${round}`);
      times.changed.push(await timeMs(() => sync(source)));
      peers.changed.push(await timeMs(() => peer.copy(source, copy)));
      await rm(copy, { recursive: true });
    }
  } finally {
    await rm(top, { recursive: true, force: true });
  }
  const budgets = { first: 1_500, unchanged: 200, changed: 250 };
  const names = { first: 'first time', unchanged: 'nothing changed', changed: '3 files changed' };
  for (const kind of ['first', 'unchanged', 'changed'] as const) {
    const [ours, theirs] = [sampleOf(times[kind]), sampleOf(peers[kind])];
    report.add({
      what: `rsync of 5,000 files, ${names[kind]}`,
      value: ours.medianMs,
      unit: 'ms',
      budget: { atMost: budgets[kind] },
      peer: `${peer.name} into a local folder ${theirs.medianMs.toFixed(0)} ms`,
      note: `${ours.minMs.toFixed(0)} to ${ours.maxMs.toFixed(0)} ms in ${ours.count} rounds`,
    });
  }
}
