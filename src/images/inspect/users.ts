import { fault, isFault } from '../../contract/errors.ts';
import type { Tree } from '../../layers/tree.ts';

/** Bounds of the guest agent (guest/agent/src/process/users.rs), which resolves the same names for other commands. */
const ACCOUNT_FILE_BYTES_MAX = 1024 * 1024;
const HOME_BYTES_MAX = 4_096;
const ID_MAX = 0xffff_fffe;

/** A user or owner named by an image. */
export interface NamedUser {
  readonly uid: number;
  readonly gid: number;
  /** Home directory of the user in the image's passwd; undefined where it has none. */
  readonly home: string | undefined;
}

/**
 * Resolves `user`, `user:group` or numbers in the passwd and group of an image. A group that is not given is the user's. The
 * group of a number is 0 for the user of a command (`USER`) whom the image does not know, and always that number for the
 * owner of files (`--chown`), as in BuildKit. Returns the name that the image does not have.
 */
export async function resolveUser(
  tree: Tree | undefined,
  text: string,
  role: 'user' | 'owner',
): Promise<NamedUser | { readonly unknown: string }> {
  const colon = text.indexOf(':');
  const [user, group] = colon === -1 ? [text, ''] : [text.slice(0, colon), text.slice(colon + 1)];
  const account = await findUser(tree, user, role);
  if (account === undefined || (user === '' && group !== '' && role === 'user')) return { unknown: user };
  if (group === '') return account;
  const gid = await findGroup(tree, group, role);
  return gid === undefined ? { unknown: group } : { ...account, gid };
}

/** Returns the user of a command, as `resolveUser` does. Faults: ARGUMENT_INVALID for one that the image does not know. */
export async function commandUser(tree: Tree, text: string): Promise<NamedUser> {
  const user = await resolveUser(tree, text, 'user');
  if (!('unknown' in user)) return user;
  const reason = `the image does not know the user or group ${JSON.stringify(user.unknown)}`;
  throw fault('ARGUMENT_INVALID', { reason });
}

async function findUser(tree: Tree | undefined, user: string, role: 'user' | 'owner'): Promise<NamedUser | undefined> {
  const id = idOf(user);
  if (id !== undefined && role === 'owner') return { uid: id, gid: id, home: undefined };
  for (const line of await linesOf(tree, '/etc/passwd')) {
    const [name = '', , uid = '', gid = '', , home = ''] = line.split(':');
    const [found, group] = [idOf(uid), idOf(gid)];
    if (found === undefined || group === undefined || name === '') continue;
    // A number is an id, also where a user has it for a name.
    if (id === undefined ? name !== user : found !== id) continue;
    return { uid: found, gid: group, home: isHome(home) ? home : '/' };
  }
  if (user === '' || user === 'root') return { uid: 0, gid: 0, home: undefined };
  return id === undefined ? undefined : { uid: id, gid: 0, home: undefined };
}

function isHome(home: string): boolean {
  return home.startsWith('/') && !home.includes('\0') && Buffer.byteLength(home) <= HOME_BYTES_MAX;
}

async function findGroup(tree: Tree | undefined, group: string, role: 'user' | 'owner'): Promise<number | undefined> {
  const id = idOf(group);
  if (id !== undefined) return id;
  for (const line of await linesOf(tree, '/etc/group')) {
    const [name, , gid = ''] = line.split(':');
    if (name === group && idOf(gid) !== undefined) return idOf(gid);
  }
  return group === 'root' && role === 'owner' ? 0 : undefined;
}

function idOf(text: string): number | undefined {
  return /^\d{1,100}$/u.test(text) && Number(text) <= ID_MAX ? Number(text) : undefined;
}

async function linesOf(tree: Tree | undefined, path: string): Promise<string[]> {
  try {
    const node = await tree?.resolve(path);
    if (tree === undefined || node?.type !== 'file') return [];
    return (await tree.read(node, 0, ACCOUNT_FILE_BYTES_MAX)).toString('utf8').split('\n');
  } catch (error) {
    if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY', 'SYMLINK_LOOP')) return [];
    throw error;
  }
}
