import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod } from 'node:fs/promises';
import { test, type TestContext } from 'node:test';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { ReaderPool } from '../../src/erofs/reader-pool.ts';
import { LayerReader } from '../../src/erofs/reader.ts';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { mergeLayers } from '../../src/layers/merge-layers.ts';
import { packLayer } from '../../src/layers/pack.ts';
import { Tree } from '../../src/layers/tree.ts';
import type { Instance, SandboxDriver } from '../../src/sandbox/driver.ts';
import { readHead, withHead } from '../../src/std/streams.ts';
import { layerOf, Scratch, STORED_MODE } from '../support/layers.ts';
import { bootSpec, runScript } from '../support/microvm.ts';
import { fuzzRounds, Random } from '../support/random.ts';
import { type TarMember, tarOf } from '../support/tar.ts';

/*
 * What root does in a run, saved: random trees are changed by random commands in a real guest. At its end a run lists what
 * it sees; the saved image as the host reads it, the next run, the image with its layers merged, and the image that is
 * exported and imported again have to list the same. The guest's own listing is the model, so nothing is assumed about
 * what the commands do.
 */

export const soon = (): AbortSignal => AbortSignal.timeout(120_000);
/** Time after which a case is taken for one that waits forever; one takes seconds. */
const CASE_MS = 600_000;
const NAMES = ['a', 'b', 'c', 'd e', 'root', 'tmp'] as const;
/** Names with a meaning in OCI layers, and none in a file system. */
const MARKS = ['.wh.a', '.wh.etc', '.wh..wh..opq', '.wh.', '.wh..wh.plnk'] as const;
/** Left out: mounts of the sandbox, and the programs, which no command touches. */
const PRUNED = ['/bin', '/dev', '/proc', '/sys', '/etc/hosts', '/etc/hostname', '/etc/resolv.conf'];

/** One opened driver, and layers with a shell in `/bin`. */
export interface ModelBench {
  readonly driver: SandboxDriver;
  readonly layers: readonly LayerFile[];
}

interface Place {
  readonly random: Random;
  /** True when names may be those of marks. */
  readonly marks: boolean;
}

function pathOf({ random, marks }: Place): string {
  const name = (): string => (marks && random.below(6) === 0 ? random.pick(MARKS) : random.pick(NAMES));
  return `/${Array.from({ length: 1 + random.below(3) }, name).join('/')}`;
}

/** Members of the root image: every kind of file, names of one file, links that lead anywhere. */
export function randomMembers(random: Random): TarMember[] {
  const place = { random, marks: false };
  const members = new Map<string, TarMember>();
  for (let count = 12; count > 0; count -= 1) {
    const path = pathOf(place).slice(1);
    const files = [...members.values()].filter(({ flag }) => flag === undefined);
    const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')));
    if (members.has(path) || (parent !== '' && members.get(parent)?.flag !== '5')) continue;
    const first = files[random.below(files.length + 1)];
    const owner = { uid: random.pick([0, 7]), gid: random.pick([0, 70_000]), mtime: 1_000_000 + count };
    const kinds: readonly [TarMember, ...TarMember[]] = [
      { path, flag: '5', mode: random.pick([0o755, 0o1777, 0o2750]), ...owner },
      { path, flag: '5', mode: 0o755, ...owner },
      { path, content: `of the image ${count}`, mode: random.pick([0o644, 0o4755]), ...owner },
      { path, content: '', ...owner },
      first === undefined ? { path, content: 'x', ...owner } : { path, flag: '1', linkname: first.path },
      { path, flag: '2', linkname: random.pick(['a', '../b', '/c', 'nowhere']), mode: 0o777, ...owner },
      { path, flag: '6', mode: 0o600, ...owner },
      { path, flag: '6', mode: 0o666, ...owner },
    ];
    members.set(path, random.pick(kinds));
  }
  return [...members.values()];
}

/**
 * One command of root; whether it succeeds depends on the tree, and does not matter. None may wait: opening a FIFO for
 * writing, which `cp` onto one does too, waits for a reader, and there is none. None may end the shell, as a failed
 * redirection of `:` would (POSIX, special built-in utilities).
 */
export function randomCommand(place: Place, serial: number): string {
  const { random } = place;
  const [one, two] = [pathOf(place), pathOf(place)].map((path) => `'${path}'`) as [string, string];
  return random.pick([
    `[ -p ${one} ] || echo ${serial} > ${one}`,
    `[ -p ${one} ] || echo ${serial} >> ${one}`,
    `[ -p ${one} ] || true >> ${one}`,
    `true <> ${one}`,
    `mkdir -p ${one}`,
    `mkdir ${one}`,
    `rm -f ${one}`,
    `rm -rf ${one}`,
    `rm -rf ${one}; mkdir ${one}`,
    `rm -rf ${one}; echo ${serial} > ${one}`,
    `mv -T ${one} ${two}`,
    `mv -T ${one} /x; mv -T /x ${one}`,
    `ln -T ${one} ${two}`,
    `ln -fT ${one} ${two}`,
    `ln ${one} /x; rm ${one}; ln /x ${one}; rm /x`,
    `mv ${one} /x; ln /x ${one}`,
    `ln -snf ${two} ${one}`,
    `[ -f ${two} ] || rm -rf ${two}; cp -a ${one} ${two}`,
    `chmod ${random.pick(['600', '755', '4711', '1777'])} ${one}`,
    `chown -h ${random.pick(['0:0', '7:70000', '12:3000000'])} ${one}`,
    `touch -h -d @${1_000_000 + serial} ${one}`,
    `mkfifo ${one}`,
    `mknod ${one} c 0 0`,
    `mount -t tmpfs none ${one} && { echo x > ${one}/x; umount ${one}; }`,
    `rm -rf /dev/*`,
    `rm -rf ${one} ${two} /x`,
  ]);
}

/** Lists the tree in the guest; three programs, however large it is. */
const LISTING = `
  all() { find / \\( ${PRUNED.map((path) => `-path ${path}`).join(' -o ')} \\) -prune -o "$@" -print0; }
  all | xargs -0 stat -c '%n|%f|%u|%g|%s|%Y|%d:%i|%t:%T|%N'; echo =; all -type f | xargs -0 -r md5sum`;

interface Listed {
  readonly path: string;
  readonly type: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly inode: string;
  readonly device: string;
  /** Target of a symlink, or digest of a file. */
  readonly content: string;
}

/** One path, with what belongs to its inode, and a number that names of one file share. */
export interface Line {
  readonly path: string;
  readonly what: string;
  readonly file: string;
}

function lineOf({ path, type, uid, gid, size, mtime, inode, device, content }: Listed): Line {
  const isDirectory = (type & 0o170000) === 0o040000;
  const what = `${type.toString(8)} ${uid}:${gid}`;
  return {
    path,
    what: isDirectory ? what : `${what} ${size} @${mtime} ${device} ${content}`,
    file: isDirectory ? path : inode,
  };
}

/** Texts of the lines, by path; each says which is the first name of its file. */
export function textsOf(lines: readonly Line[]): string[] {
  const first = new Map<string, string>();
  return lines
    .toSorted((one, other) => (one.path < other.path ? -1 : 1))
    .map(({ path, what, file }) => {
      first.set(file, first.get(file) ?? path);
      return `${path} ${what} = ${first.get(file)}`;
    });
}

/**
 * Joins names of one file of the image that a run only separated: to open one of them for writing copies it, which saves
 * nothing as long as nothing is written.
 */
export function rejoined(seen: readonly Line[], before: readonly Line[]): Line[] {
  const earlier = new Map(before.map((line) => [line.path, line]));
  const isSame = (line: Line): boolean => earlier.get(line.path)?.what === line.what;
  const origins = Map.groupBy(seen, ({ file }) => file);
  const origin = (line: Line): string | undefined => (isSame(line) ? earlier.get(line.path)?.file : undefined);
  return seen.map((line) => {
    const own = origin(line);
    const together = origins.get(line.file) ?? [];
    return own !== undefined && together.every((other) => origin(other) === own)
      ? { ...line, file: `as before: ${own}` }
      : line;
  });
}

export async function guestListing(instance: Instance): Promise<Line[]> {
  const { stdout, stderr } = await runScript(instance, LISTING);
  const [stats = '', sums = ''] = stdout.split('\n=\n');
  const digests = new Map(sums.split('\n').map((line) => [line.slice(34), line.slice(0, 32)]));
  const listed = stats.split('\n').map((line): Listed => {
    const [path = '', mode = '', uid, gid, size, mtime, inode = '', device = '', named = ''] = line.split('|');
    const target = / -> '?(.*?)'?$/u.exec(named)?.[1];
    const numbers = { uid: Number(uid), gid: Number(gid), size: Number(size), mtime: Number(mtime) };
    const content = target ?? digests.get(path) ?? '';
    return { path, type: Number.parseInt(mode, 16), ...numbers, inode, device, content };
  });
  assert.ok(digests.has('/etc/passwd') && listed.length >= digests.size, stderr);
  return listed.map((one) => lineOf(one));
}

export async function hostListing(layers: readonly LayerFile[]): Promise<Line[]> {
  await using tree = await Tree.open(layers);
  const listed: Listed[] = [];
  for await (const { path, node } of tree.walk(tree.root, (below) => !PRUNED.includes(`/${below}`))) {
    if (PRUNED.includes(`/${path}`)) continue;
    const { mode: type, uid, gid, size, mtimeSeconds: mtime, key: inode, major, minor } = node;
    let content = '';
    if (node.type === 'file') {
      const hash = createHash('md5');
      for await (const chunk of tree.stream(node)) hash.update(chunk);
      content = hash.digest('hex');
    } else if (node.type === 'symlink') content = await tree.readlink(node);
    const device = `${major.toString(16)}:${minor.toString(16)}`;
    listed.push({ path: `/${path}`, type, uid, gid, size, mtime, inode, device, content });
  }
  return listed.map((one) => lineOf(one));
}

/** Saves what a run changed as a layer; undefined when it changed nothing. */
export async function saved(
  scratch: Scratch,
  changed: AsyncIterable<Uint8Array>,
  layers: readonly LayerFile[],
): Promise<LayerFile | undefined> {
  const changes = changed[Symbol.asyncIterator]();
  const head = await readHead(changes, 1);
  if (head.ended) return undefined;
  await using lower = await Tree.open(layers);
  const path = scratch.path();
  const { bytes } = await buildLayer(withHead(head, changes), path, { lower, marks: 'overlay' });
  await chmod(path, STORED_MODE);
  return { path, bytes };
}

/** Exports each layer as OCI has it, and imports it again on top of the others. */
async function exported(scratch: Scratch, layers: readonly LayerFile[]): Promise<LayerFile[]> {
  const again: LayerFile[] = [];
  for (const layer of layers) {
    await using reader = await LayerReader.open(layer);
    await using lower = again.length === 0 ? undefined : await Tree.open(again);
    const path = scratch.path();
    const { bytes } = await buildLayer(packLayer(reader), path, { lower });
    await chmod(path, STORED_MODE);
    again.push({ path, bytes });
  }
  return again;
}

async function merged(scratch: Scratch, layers: readonly LayerFile[]): Promise<LayerFile[]> {
  await using readers = new ReaderPool();
  const [bottom, ...above] = layers;
  if (bottom === undefined || above.length < 2) return [...layers];
  await using lower = await Tree.open([bottom]);
  const path = scratch.path();
  const { bytes } = await mergeLayers({ layers: above, lower, readers, target: path }, soon());
  return [bottom, { path, bytes }];
}

/** Runs one case: a root image and three runs, each on what the one before saved. */
async function checkSaved({ driver, layers: programs }: ModelBench, seed: number): Promise<void> {
  await using scratch = await Scratch.create();
  const random = new Random(seed);
  const marks = seed % 3 === 0;
  const layers = [...programs, await layerOf(scratch, tarOf(randomMembers(random)), programs)];
  const done: string[] = [];
  const check = (actual: readonly Line[], expected: readonly Line[], what: string): void =>
    assert.deepEqual(textsOf(actual), textsOf(expected), `seed ${seed}: ${what}\n${done.join('\n')}`);
  let before = await hostListing(layers);
  for (let run = 1; run <= 3; run += 1) {
    await using instance = await driver.start(bootSpec(layers), soon());
    check(await guestListing(instance), before, `run ${run} sees what was saved`);
    const commands = Array.from({ length: 12 }, (_, at) => randomCommand({ random, marks }, 100 * run + at));
    done.push(`# run ${run}`, ...commands);
    const { outcome, stderr } = await runScript(instance, [...commands, 'exit 0'].join('\n'));
    assert.equal(outcome.exitCode, 0, `seed ${seed}: not every command was tried\n${done.join('\n')}\n${stderr}`);
    const seen = await guestListing(instance);
    const layer = await saved(scratch, instance.changes(soon()), layers);
    if (layer !== undefined) layers.push(layer);
    const after = await hostListing(layers);
    check(after, rejoined(seen, before), `what run ${run} saw is saved`);
    before = after;
  }
  check(await hostListing(await merged(scratch, layers)), before, 'the merged layers are the same');
  if (!marks) check(await hostListing(await exported(scratch, layers)), before, 'the exported image is the same');
}

/** Declares the test of the model; `rounds` are those of every test run. */
export function savedModelTest(name: string, bench: ModelBench, rounds: number): void {
  test(`${name}: what root does in a run is what is saved, run again and exported`, async (t: TestContext) => {
    const first = Number(process.env['CONTREE_MODEL_SEED'] ?? 1);
    for (let seed = first; seed < first + fuzzRounds(rounds); seed += 1)
      await t.test(`seed ${seed}`, { timeout: CASE_MS }, () => checkSaved(bench, seed));
  });
}
