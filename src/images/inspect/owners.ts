import { isFault } from '../../contract/errors.ts';
import type { Tree } from '../../layers/tree.ts';

/** Bytes read of an image's account files; real ones have a few kilobytes. */
const ACCOUNT_FILE_BYTES_MAX = 256 * 1024;
const NAME_CHARACTERS_MAX = 256;

/** Names of owners and groups as defined by the image; numbers where it has no name. */
export interface Owners {
  owner(uid: number): string | number;
  group(gid: number): string | number;
}

/** Reads `/etc/passwd` and `/etc/group` of an image. Missing or damaged files only mean fewer names. */
export async function readOwners(tree: Tree): Promise<Owners> {
  const [users, groups] = await Promise.all([readNames(tree, '/etc/passwd'), readNames(tree, '/etc/group')]);
  return { owner: (uid) => users.get(uid) ?? uid, group: (gid) => groups.get(gid) ?? gid };
}

/** Parses lines `name:password:id:…`; the first line of an id wins, as with getpwuid. */
async function readNames(tree: Tree, path: string): Promise<Map<number, string>> {
  const names = new Map<number, string>();
  for (const line of (await readText(tree, path)).split('\n')) {
    const [name = '', , id = ''] = line.split(':');
    const usable = name !== '' && name.length <= NAME_CHARACTERS_MAX && !/[\u0000-\u001f\u007f]/u.test(name);
    if (usable && /^\d{1,10}$/u.test(id) && !names.has(Number(id))) names.set(Number(id), name);
  }
  return names;
}

async function readText(tree: Tree, path: string): Promise<string> {
  try {
    const node = await tree.resolve(path);
    if (node.type !== 'file') return '';
    return (await tree.read(node, 0, ACCOUNT_FILE_BYTES_MAX)).toString('utf8');
  } catch (error) {
    if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY', 'SYMLINK_LOOP')) return '';
    throw error;
  }
}
