import { createHash } from 'node:crypto';
import { lstat, readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Stats } from 'node:fs';

/** Paths that programs which run commands make or fill themselves. */
const OF_THE_SANDBOX = /^\/(?:dev|proc|sys|run|etc\/(?:hosts|resolv\.conf|hostname|mtab))(?:\/|$)/u;

/** Lines of a tree by path: type, mode, owner, and content. Times are left out. */
export type TreeLines = ReadonlyMap<string, string>;

/** Reads a tree below a folder of this host. Needs the rights to read all of it. */
export async function readTree(root: string): Promise<TreeLines> {
  const lines = new Map<string, string>();
  const visit = async (path: string): Promise<void> => {
    const names = (await readdir(join(root, path))).toSorted();
    for (const name of names) {
      const at = `${path}/${name}`;
      if (OF_THE_SANDBOX.test(at)) continue;
      const info = await lstat(join(root, at));
      lines.set(at, await describe(join(root, at), info));
      if (info.isDirectory()) await visit(at);
    }
  };
  await visit('');
  return lines;
}

async function describe(path: string, info: Stats): Promise<string> {
  const common = `${(info.mode & 0o7777).toString(8).padStart(4, '0')} ${info.uid}:${info.gid}`;
  if (info.isDirectory()) return `directory ${common}`;
  if (info.isSymbolicLink()) return `symlink ${info.uid}:${info.gid} -> ${await readlink(path)}`;
  if (info.isFile())
    return `file ${common} ${createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
      .slice(0, 16)}`;
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
