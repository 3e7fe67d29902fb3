import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Buildah } from './buildah.ts';
import { makeBases } from './bases.ts';
import { Contree } from './contree.ts';
import { type BuildCase, caseNames, prepareCase } from './corpus.ts';
import { unlisted } from './peer-differences.ts';
import { differences } from './tree.ts';

/**
 * `npm run test:builds`: builds each Dockerfile of the corpus with `contree build` and with `buildah --isolation chroot`, and
 * compares trees and configurations. `-- NAME…` selects cases; a name may end in `*`. What buildah itself does differently
 * is listed in `peer-differences.ts`. Needs root, buildah, busybox and mmdebstrap (Debian's packages).
 */
const asked = process.argv.slice(2);
const names = (await caseNames()).filter(
  (name) => asked.length === 0 || asked.some((pattern) => selects(pattern, name)),
);
const folder = await mkdtemp(join(tmpdir(), 'contree-builds-'));
const cache = join(tmpdir(), 'contree-builds-cache');
const startedMs = performance.now();
const counts = { same: 0, listed: 0, failed: 0 };
try {
  await using contree = new Contree(folder);
  await using buildah = await Buildah.open(folder);
  const { archives, folders } = await makeBases(buildah, folder, cache);
  for (const [name, archive] of archives) await contree.run(['import', archive, '--tag', name]);
  for (const [name, context] of folders) await contree.run(['build', '-t', name, context]);
  const contexts = join(folder, 'contexts');
  await mkdir(contexts);
  for (const name of names) counts[await compare(await prepareCase(name, contexts), { contree, buildah })] += 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
const took = `${((performance.now() - startedMs) / 60_000).toFixed(1)} minutes`;
say(
  `${names.length} Dockerfiles in ${took}: ${counts.same} give the same image as buildah, ${counts.listed} differ in nothing but listed faults of buildah, ${counts.failed} differ`,
);
process.exitCode = counts.failed === 0 ? 0 : 1;

function selects(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Builds a case with both programs, side by side, and says what differs. */
async function compare(
  buildCase: BuildCase,
  { contree, buildah }: { readonly contree: Contree; readonly buildah: Buildah },
): Promise<keyof typeof counts> {
  const { name } = buildCase;
  const [own, peer] = await Promise.allSettled([contree.built(buildCase), buildah.built(buildCase)]);
  if (own.status === 'rejected' || peer.status === 'rejected') {
    say(`failed ${name}`);
    for (const end of [own, peer]) if (end.status === 'rejected') say(`  ${String(end.reason)}`);
    return 'failed';
  }
  const [ours, theirs] = [own.value, peer.value];
  const found = [...differences(ours.config, theirs.config), ...differences(ours.tree, theirs.tree)];
  const wrong = unlisted(name, found);
  const held = found.length > 0 ? 'listed' : 'same';
  const end = wrong.length > 0 ? 'failed' : held;
  say(`${end.padEnd(6)} ${name} (${ours.seconds.toFixed(1)} s, buildah ${theirs.seconds.toFixed(1)} s)`);
  for (const line of wrong) say(`  ${line}`);
  return end;
}
