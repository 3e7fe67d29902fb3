import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { lstat, readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Stats } from 'node:fs';
import { json } from 'node:stream/consumers';

const TAR_READER = new URL('tar_tree.py', import.meta.url).pathname;

/** Paths that programs which run commands make or fill themselves. */
const OF_THE_SANDBOX = /^\/(?:dev|proc|sys|run|etc\/(?:hosts|resolv\.conf|hostname|mtab))(?:\/|$)/u;

/** Lines of a tree by path: type, mode, owner, and content. Times are left out. */
export type TreeLines = ReadonlyMap<string, string>;

/** Digests of files that were read before, by inode: most files of a tree are those of its base. */
const digests = new Map<string, string>();

/** Reads a tree below a folder of this host. Needs the rights to read all of it. */
export async function readTree(root: string): Promise<TreeLines> {
  const lines = new Map<string, string>();
  const visit = async (path: string): Promise<void> => {
    const names = (await readdir(join(root, path))).map((name) => `${path}/${name}`);
    const directories = names
      .filter((at) => !OF_THE_SANDBOX.test(at))
      .map(async (at) => {
        const info = await lstat(join(root, at));
        lines.set(at, await describe(join(root, at), info));
        return info.isDirectory() ? [at] : [];
      });
    for (const at of (await Promise.all(directories)).flat()) await visit(at);
  };
  await visit('');
  return lines;
}

/** Runs a program that writes a tar, and reads the tree in it with Python's reader, which is not ours. */
export async function readTarTree(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<TreeLines> {
  const writing = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const reading = spawn('python3', [TAR_READER], { stdio: [writing.stdout, 'pipe', 'inherit'] });
  // The reader has its own copy of this end, and ends with the writer.
  writing.stdout.destroy();
  const ends = [writing, reading].map(async (child) => ((await once(child, 'exit')) as unknown[])[0]);
  const [lines] = await Promise.all([json(reading.stdout), ...ends]);
  const codes = await Promise.all(ends);
  if (codes.some((code) => code !== 0)) throw new Error(`${program} ${args.join(' ')}: exit codes ${codes.join(', ')}`);
  const all = Object.entries(lines as Record<string, string>);
  return new Map(all.filter(([path]) => !OF_THE_SANDBOX.test(path)));
}

async function digestOf(path: string, { ino, size, ctimeMs }: Stats): Promise<string> {
  // Without the device, which is another one each time an overlay is mounted.
  const key = `${ino} ${size} ${ctimeMs}`;
  const digest =
    digests.get(key) ??
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
      .slice(0, 16);
  digests.set(key, digest);
  return digest;
}

async function describe(path: string, info: Stats): Promise<string> {
  const common = `${(info.mode & 0o7777).toString(8).padStart(4, '0')} ${info.uid}:${info.gid}`;
  if (info.isDirectory()) return `directory ${common}`;
  if (info.isSymbolicLink()) return `symlink ${info.uid}:${info.gid} -> ${await readlink(path)}`;
  if (info.isFile()) return `file ${common} ${await digestOf(path, info)}`;
  return `${info.isFIFO() ? 'fifo' : 'special'} ${common} ${info.rdev}`;
}

/** Returns the differences of two trees, or of two configurations, as lines for people. */
export function differences(ours: ReadonlyMap<string, string>, theirs: ReadonlyMap<string, string>): string[] {
  const keys = [...new Set([...ours.keys(), ...theirs.keys()])].toSorted();
  return keys
    .filter((key) => ours.get(key) !== theirs.get(key))
    .map((key) => `${JSON.stringify(key)}: ours ${ours.get(key) ?? 'absent'}, buildah ${theirs.get(key) ?? 'absent'}`);
}

/** Fields of an image's configuration that a Dockerfile sets. */
const FIELDS = [
  'Env',
  'Cmd',
  'Entrypoint',
  'WorkingDir',
  'User',
  'ExposedPorts',
  'Labels',
  'Volumes',
  'StopSignal',
  'Healthcheck',
  'Shell',
  'OnBuild',
] as const;

/** Returns the comparable configuration of an OCI or Docker image: a line per field, absent and empty alike. */
export function configLines(config: Readonly<Record<string, unknown>>): ReadonlyMap<string, string> {
  const lines = new Map<string, string>();
  for (const field of FIELDS) {
    const value = ordered(field, config[field]);
    const empty = value === undefined || value === null || value === '' || Object.keys(value).length === 0;
    if (typeof value === 'string' ? value !== '' : !empty) lines.set(field, JSON.stringify(value));
  }
  return lines;
}

/** Returns a value without an order that means nothing, and without the label that buildah adds. */
function ordered(field: string, value: unknown): unknown {
  if (field === 'Env' && Array.isArray(value))
    return value.map(String).toSorted((one, other) => (one < other ? -1 : 1));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).filter(([name]) => name !== 'io.buildah.version');
  return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}
