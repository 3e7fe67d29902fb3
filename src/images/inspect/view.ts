import { fault, isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { DirectoryList, FileContent, FileItem, ListRange, ReadRange } from '../../contract/inspect.ts';
import { packTree } from '../../layers/pack.ts';
import type { Tree, TreeNode } from '../../layers/tree.ts';
import type { ByteString } from '../../std/bytes.ts';
import { pathFromText, textFromPath } from '../../std/path-text.ts';
import { readOwners, type Owners } from './owners.ts';

/**
 * Looking into images without a VM. Paths are text as clients send it (see `std/path-text.ts`), absolute or relative to
 * the root; symlinks are followed inside the image only.
 */

/** Size of a small directory, which has some thousand entries at most. */
const SMALL_DIRECTORY_BYTES = 64 * 1024;

/** Reports whether listing the directory at the path is little work. Faults: those of `Tree.resolve`. */
export async function isSmallDirectory(tree: Tree, path: string): Promise<boolean> {
  const { sources } = await resolve(tree, path);
  return sources.reduce((sum, { inode }) => sum + inode.size, 0) <= SMALL_DIRECTORY_BYTES;
}

/**
 * Returns the entries of a directory, ascending in byte order, or a part of them with the number of all. Faults: those of
 * `Tree.resolve`, NOT_A_DIRECTORY, INSPECTION_LIMIT when there are too many for one answer.
 */
export async function listDirectory(tree: Tree, path: string, range: ListRange = {}): Promise<DirectoryList> {
  const node = await resolve(tree, path);
  if (node.type !== 'directory') throw fault('NOT_A_DIRECTORY', { path, type: typeLabel(node) });
  const owners = await ownersOf(tree);
  const isPart = range.limit !== undefined || range.offset !== undefined;
  const { offset = 0, limit = limits.entriesListedMax } = range;
  const files: FileItem[] = [];
  let total = 0;
  for await (const children of tree.children(node)) {
    const asked = children.slice(Math.max(0, offset - total), Math.max(0, offset + limit - total));
    for (const { name, node: child } of asked) files.push(await itemOf(tree, owners, name, child));
    total += children.length;
    if (!isPart && total > limit) throw fault('INSPECTION_LIMIT', { what: 'entries in one listing', limit });
  }
  return { path, files, ...(isPart && { total }) };
}

/** Describes the entry at a path; a symlink at its end is not followed. `path` of the item is the requested path. */
export async function stat(tree: Tree, path: string): Promise<FileItem> {
  const node = await resolve(tree, path, { followLast: false });
  const item = await itemOf(tree, await ownersOf(tree), '', node);
  return { ...item, path };
}

/** Opens a regular file for reading; `range` is clipped to its size. Faults: those of `Tree.resolve`, NOT_A_FILE. */
export async function openFile(tree: Tree, path: string, range: ReadRange = {}): Promise<FileContent> {
  const node = await resolve(tree, path);
  if (node.type !== 'file') throw fault('NOT_A_FILE', { path, type: typeLabel(node) });
  const { offset = 0, length = node.size } = range;
  return { path, size: node.size, body: tree.stream(node, Math.min(offset, node.size), length) };
}

/** Returns the file or directory at a path. Faults: those of `Tree.resolve`, NOT_A_FILE for anything else. */
export async function archivable(tree: Tree, path: string): Promise<TreeNode> {
  const node = await resolve(tree, path);
  if (node.type === 'file' || node.type === 'directory') return node;
  throw fault('NOT_A_FILE', { path, type: typeLabel(node) });
}

/**
 * Streams a PAX tar of the entry at the path and everything below it. Member names begin with the entry's own name, as
 * the hosted service's do. Faults: those of `archivable`.
 */
export async function archive(tree: Tree, path: string): Promise<AsyncIterable<Uint8Array>> {
  const node = await archivable(tree, path);
  return packTree(tree, node, lexicalPath(pathFromText(path)).replace(/^.*\//su, ''));
}

/**
 * Returns the path without `.`, `..` and empty parts: member names must not lead out of the directory they are unpacked
 * to.
 */
function lexicalPath(path: ByteString): ByteString {
  const names: ByteString[] = [];
  for (const name of path.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  return names.join('/');
}

/** Returns the node at a path given as text; faults name the path as given. */
export async function resolve(tree: Tree, path: string, { followLast = true } = {}): Promise<TreeNode> {
  if (path === '') throw fault('PATH_INVALID', { path, reason: 'is empty' });
  try {
    return await tree.resolve(pathFromText(path), { followLast });
  } catch (error) {
    if (isFault(error, 'FILE_NOT_FOUND')) {
      const { nearest } = error.detail;
      throw fault('FILE_NOT_FOUND', { path, ...(typeof nearest === 'string' && { nearest }) }, { cause: error });
    }
    throw error;
  }
}

/** Returns the type of a file in words. */
export function typeLabel({ type }: Pick<TreeNode, 'type'>): string {
  return type === 'character' || type === 'block' ? 'device' : type;
}

/** Owners by tree, read once because an image never changes. */
const ownersByTree = new WeakMap<Tree, Promise<Owners>>();

function ownersOf(tree: Tree): Promise<Owners> {
  const known = ownersByTree.get(tree);
  if (known !== undefined) return known;
  const owners = readOwners(tree);
  ownersByTree.set(tree, owners);
  owners.catch(() => ownersByTree.delete(tree));
  return owners;
}

async function itemOf(tree: Tree, owners: Owners, name: ByteString, node: TreeNode): Promise<FileItem> {
  const { type, mode, uid, gid, size, mtimeSeconds, nlink } = node;
  return {
    size,
    path: textFromPath(name),
    owner: owners.owner(uid),
    group: owners.group(gid),
    uid,
    gid,
    mode,
    mtime: mtimeSeconds,
    nlink,
    is_dir: type === 'directory',
    is_regular: type === 'file',
    is_symlink: type === 'symlink',
    is_socket: type === 'socket',
    is_fifo: type === 'fifo',
    symlink_to: type === 'symlink' ? textFromPath(await tree.readlink(node)) : '',
  };
}
