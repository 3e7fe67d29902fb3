import { Readable } from 'node:stream';
import { fault } from '../contract/errors.ts';
import type { Inode } from '../erofs/format.ts';
import { NO_XATTRS, type Xattrs } from '../erofs/node.ts';
import type { LayerReader } from '../erofs/reader.ts';
import { assert } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { walkLayer } from './layer-walk.ts';
import { printable } from './path.ts';
import type { TarEntry } from '../tar/reader.ts';
import { contentPadding, encodeHeader, TAR_END } from '../tar/writer.ts';
import { isWhiteout, OVERLAY_OPAQUE, OVERLAY_PREFIX, type Tree, type TreeNode } from './tree.ts';
import { batched } from '../std/streams.ts';

const BATCH_BYTES = 256 * 1024;

type Attributes = Pick<
  Inode,
  'type' | 'mode' | 'uid' | 'gid' | 'size' | 'mtimeSeconds' | 'mtimeNanoseconds' | 'nlink' | 'major' | 'minor'
>;

/** One file to write to an archive. */
interface Member {
  /** Path without leading slash; empty for the root. */
  readonly path: ByteString;
  readonly attributes: Attributes;
  /** Equal for the names of one inode. */
  readonly key: string | number;
  readonly xattrs: Xattrs;
  /** Target, for a symlink. */
  readonly linkpath: ByteString;
  readonly content: () => AsyncIterable<Uint8Array>;
}

/**
 * Streams a POSIX PAX tar of `node` and everything below it. Member names start with `path` (no leading slash; empty
 * for the root, which then has no member of its own), parents first. Sockets cannot be represented in tar and are
 * omitted. It reads at most one member ahead of the consumer.
 */
export async function* packTree(tree: Tree, node: TreeNode, path: ByteString): AsyncGenerator<Uint8Array> {
  yield* batched(encode(treeMembers(tree, node, path)), BATCH_BYTES);
}

/**
 * Streams one layer as an OCI layer tar: its own files, `.wh.` entries for its whiteouts, `.wh..wh..opq` for opaque
 * directories. A layer with a file named `.wh.…` cannot be represented in OCI: ARGUMENT_INVALID.
 */
export async function* packLayer(reader: LayerReader): AsyncGenerator<Uint8Array> {
  yield* batched(encode(layerMembers(reader)), BATCH_BYTES);
}

async function* treeMembers(tree: Tree, node: TreeNode, path: ByteString): AsyncGenerator<Member> {
  for await (const { path: below, node: found } of tree.walk(node)) {
    const full = [path, below].filter((part) => part !== '').join('/');
    if (full === '') continue;
    yield {
      path: full,
      attributes: found,
      key: found.key,
      xattrs: await tree.xattrs(found),
      linkpath: found.type === 'symlink' ? await tree.readlink(found) : '',
      content: () => tree.stream(found),
    };
  }
}

/** Rejects with ARGUMENT_INVALID if an OCI layer cannot represent the layer; reads its names only. */
export async function checkPackable(reader: LayerReader, signal?: AbortSignal): Promise<void> {
  for await (const { path, inode } of walkLayer(reader)) {
    signal?.throwIfAborted();
    checkName(path, inode);
  }
}

/** Refuses a file whose own name is that of a mark. */
function checkName(path: ByteString, inode: Inode): void {
  if (isWhiteout(inode) || !path.slice(path.lastIndexOf('/') + 1).startsWith('.wh.')) return;
  const name = JSON.stringify(printable(path));
  throw fault('ARGUMENT_INVALID', { reason: `the file name ${name} means a whiteout in OCI layers` });
}

async function* layerMembers(reader: LayerReader): AsyncGenerator<Member> {
  for await (const { path, inode } of walkLayer(reader)) {
    const cut = path.lastIndexOf('/') + 1;
    const name = path.slice(cut);
    if (isWhiteout(inode)) {
      yield marker(`${path.slice(0, cut)}.wh.${name}`);
      continue;
    }
    checkName(path, inode);
    const xattrs = await reader.xattrs(inode);
    yield {
      path,
      attributes: inode,
      key: inode.nid,
      xattrs: new Map([...xattrs].filter(([name]) => !name.startsWith(OVERLAY_PREFIX))),
      linkpath: inode.type === 'symlink' ? await reader.readlink(inode) : '',
      content: () => reader.stream(inode),
    };
    if (xattrs.has(OVERLAY_OPAQUE)) yield marker(path === '' ? '.wh..wh..opq' : `${path}/.wh..wh..opq`);
  }
}

/** Returns an empty file whose name is a mark. */
function marker(path: ByteString): Member {
  const attributes: Attributes = {
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    nlink: 1,
    major: 0,
    minor: 0,
  };
  return { path, attributes, key: '', xattrs: NO_XATTRS, linkpath: '', content: () => Readable.from([]) };
}

async function* encode(members: AsyncIterable<Member>): AsyncGenerator<Uint8Array> {
  const firstNames = new Map<string | number, ByteString>();
  for await (const member of members) {
    if (member.attributes.type === 'socket') continue;
    const entry = entryOf(member, firstNames);
    yield encodeHeader(entry);
    if (entry.size === 0) continue;
    yield* member.content();
    yield contentPadding(entry.size);
  }
  yield TAR_END;
}

/** Converts a member to its entry: the first name of an inode carries its content, later ones are links to that. */
function entryOf(member: Member, firstNames: Map<string | number, ByteString>): TarEntry {
  const { path, attributes, key, xattrs, linkpath } = member;
  const { type, mode, size, nlink, uid, gid, mtimeSeconds, mtimeNanoseconds, major, minor } = attributes;
  const common = {
    path,
    linkpath,
    mode: mode & 0o7777,
    uid,
    gid,
    mtimeSeconds,
    mtimeNanoseconds,
    major,
    minor,
    xattrs,
  };
  if (type === 'directory') return { ...common, type, path: path === '' ? './' : `${path}/`, size: 0 };
  const first = nlink > 1 ? firstNames.get(key) : undefined;
  if (first !== undefined) return { ...common, type: 'link', linkpath: first, size: 0, xattrs: NO_XATTRS };
  if (nlink > 1) firstNames.set(key, path);
  assert(type !== 'socket', 'sockets are left out before');
  return { ...common, type, size: type === 'file' ? size : 0 };
}
