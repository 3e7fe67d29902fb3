import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Buildah } from './buildah.ts';
import { makeBases } from './bases.ts';
import { Contree } from './contree.ts';
import { caseNames, prepareCase } from './corpus.ts';
import { differences } from './tree.ts';

/**
 * `npm run test:builds`: builds each Dockerfile of the corpus with `contree build` and with `buildah --isolation chroot`, and
 * compares trees and configurations. `-- NAME…` selects cases. Needs root, buildah, busybox and mmdebstrap (Debian's packages).
 */
const asked = process.argv.slice(2);
const names = (await caseNames()).filter((name) => asked.length === 0 || asked.includes(name));
const folder = await mkdtemp(join(tmpdir(), 'contree-builds-'));
const cache = join(tmpdir(), 'contree-builds-cache');
let failed = 0;
try {
  await using contree = new Contree(folder);
  const buildah = await Buildah.open(folder);
  const { archives, folders } = await makeBases(buildah, folder, cache);
  for (const [name, archive] of archives) await contree.run(['import', archive, '--tag', name]);
  for (const [name, context] of folders) await contree.run(['build', '-t', name, context]);
  const contexts = join(folder, 'contexts');
  await mkdir(contexts);
  for (const name of names) {
    const found = await compared(await prepareCase(name, contexts), { contree, buildah });
    if (found.length === 0) continue;
    failed += 1;
    for (const line of found) say(`  ${line}`);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
say(`${names.length - failed} of ${names.length} Dockerfiles give the same image as buildah`);
process.exitCode = failed === 0 ? 0 : 1;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function compared(
  buildCase: Awaited<ReturnType<typeof prepareCase>>,
  { contree, buildah }: { readonly contree: Contree; readonly buildah: Buildah },
): Promise<string[]> {
  try {
    const theirs = await buildah.built(buildCase);
    const ours = await contree.built(buildCase);
    const found = [...differences(ours.config, theirs.config), ...differences(ours.tree, theirs.tree)];
    const times = `${ours.seconds.toFixed(1)} s, buildah ${theirs.seconds.toFixed(1)} s`;
    say(`${found.length === 0 ? 'same  ' : 'differs'} ${buildCase.name} (${times})`);
    return found;
  } catch (error) {
    say(`failed  ${buildCase.name}`);
    return [String(error)];
  }
}
