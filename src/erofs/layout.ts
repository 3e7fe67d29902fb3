import { assert, defined } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { sortInTurns } from '../std/sort-in-turns.ts';
import { packDirectory } from './directory.ts';
import {
  BLOCK_BYTES,
  COMPACT_INODE_BYTES,
  type Epoch,
  EXTENDED_INODE_BYTES,
  FLAT_INLINE,
  FLAT_PLAIN,
  fitsCompact,
  type Inode,
  SLOT_BYTES,
  typeBits,
} from './format.ts';
import type { DirectoryNode, LayerNode } from './node.ts';
import { xattrAreaBytes } from './xattr.ts';

/** Position of an inode, and the space it needs there. */
export interface Placement {
  readonly node: LayerNode;
  /** Parent of a directory; the root is its own parent. */
  readonly parent: Placement | undefined;
  nlink: number;
  nid: number;
  /** First block of a directory or long symlink, before the inodes. */
  block: number;
  /** Names in a directory including `.` and `..`, ascending. */
  names: readonly ByteString[];
  /** Blocks of a directory: `packDirectory(names)`. */
  blocks: readonly { readonly first: number; readonly bytes: number }[];
}

export interface Layout {
  /** Placements in the order of the metadata area. */
  readonly placements: readonly Placement[];
  readonly placementOf: ReadonlyMap<LayerNode, Placement>;
  readonly epoch: Epoch;
  /** Blocks of directories and long symlinks, before the inodes. */
  readonly directoryBlocks: number;
  /** Bytes of the inode area. */
  readonly metadataBytes: number;
}

/**
 * Assigns a position to every inode: the root first (its number has 16 bits), then directory by directory, so that
 * entries listed together are stored together. Directory blocks begin at `firstBlock`.
 */
export async function planLayout(root: DirectoryNode, firstBlock: number): Promise<Layout> {
  const pace = new Pace();
  const { placements, placementOf } = await collectPlacements(root, pace);
  const epoch = await mostFrequentTime(placements, pace);
  // Slot 0 stays empty: inode number 0 means "no entry" to readers of directories.
  let end = SLOT_BYTES;
  let block = firstBlock;
  for (const placement of placements) {
    if (pace.due()) await pace.rest();
    placement.block = block;
    const inode = inodeOf(placement, epoch);
    const inlineBytes = inode.layout === FLAT_INLINE ? inode.size % BLOCK_BYTES : 0;
    const start = startOf(end, inode.inodeBytes, inlineBytes === 0 ? 0 : inode.xattrBytes + inlineBytes);
    placement.nid = start / SLOT_BYTES;
    block += ownBlocks(placement, inode);
    end = roundUp(start + inode.inodeBytes + inode.xattrBytes + inlineBytes, SLOT_BYTES);
  }
  // fsck.erofs looks for xattrs after every inode, even one without: the last inode must not end with the file.
  const metadataBytes = end % BLOCK_BYTES === 0 ? end + SLOT_BYTES : end;
  return { placements, placementOf, epoch, directoryBlocks: block - firstBlock, metadataBytes };
}

/** Returns the inode of a placement. It is created on each call because a million of them would take much memory. */
export function inodeOf(placement: Placement, epoch: Epoch): Inode {
  const { node, nlink, nid } = placement;
  const xattrBytes = xattrAreaBytes(node.xattrs);
  const { size, inline, contentBlock } = contentOf(placement, xattrBytes);
  const draft: Omit<Inode, 'inodeBytes'> = {
    nid,
    type: node.type,
    mode: typeBits(node.type) | node.mode,
    uid: node.uid,
    gid: node.gid,
    size,
    mtimeSeconds: node.mtimeSeconds,
    mtimeNanoseconds: node.mtimeNanoseconds,
    nlink,
    major: 'major' in node ? node.major : 0,
    minor: 'minor' in node ? node.minor : 0,
    layout: inline ? FLAT_INLINE : FLAT_PLAIN,
    contentBlock,
    xattrBytes,
  };
  return { ...draft, inodeBytes: fitsCompact(draft, epoch) ? COMPACT_INODE_BYTES : EXTENDED_INODE_BYTES };
}

/** Reports whether a tail fits after the inode: both must be in one block, or Linux refuses the inode. */
function fitsInline(xattrBytes: number, tailBytes: number): boolean {
  return EXTENDED_INODE_BYTES + xattrBytes + tailBytes <= BLOCK_BYTES;
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

const NONE: readonly never[] = [];

async function collectPlacements(root: DirectoryNode, pace: Pace): Promise<Pick<Layout, 'placements' | 'placementOf'>> {
  const placements: Placement[] = [];
  const placementOf = new Map<LayerNode, Placement>();
  const place = (node: LayerNode, parent: Placement | undefined): Placement => {
    const placement = { node, parent, nlink: 0, nid: 0, block: 0, names: NONE, blocks: NONE };
    placements.push(placement);
    placementOf.set(node, placement);
    return placement;
  };
  const pending = [place(root, undefined)];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    assert(directory.node.type === 'directory', 'only directories are pending');
    const { children } = directory.node;
    directory.names = await sortInTurns(['.', '..', ...children.keys()], (left, right) => (left < right ? -1 : 1));
    directory.blocks = packDirectory(directory.names);
    directory.nlink += 2;
    const subdirectories: Placement[] = [];
    for (const name of directory.names) {
      if (pace.due()) await pace.rest();
      const node = children.get(name);
      if (node === undefined) continue;
      const known = placementOf.get(node);
      if (node.type === 'directory') {
        assert(known === undefined, 'a directory has one name');
        directory.nlink++;
        subdirectories.push(place(node, directory));
      } else {
        (known ?? place(node, undefined)).nlink++;
      }
    }
    while (subdirectories.length > 0) pending.push(defined(subdirectories.pop(), 'not empty'));
  }
  return { placements, placementOf };
}

/** Returns the most frequent time of the layer, which compact inodes share because they have no time of their own. */
async function mostFrequentTime(placements: readonly Placement[], pace: Pace): Promise<Epoch> {
  const counts = new Map<string, number>();
  let best = { count: 0, epochSeconds: 0, epochNanoseconds: 0 };
  for (const { node } of placements) {
    if (pace.due()) await pace.rest();
    const key = `${node.mtimeSeconds}.${node.mtimeNanoseconds}`;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    if (count > best.count) {
      best = { count, epochSeconds: node.mtimeSeconds, epochNanoseconds: node.mtimeNanoseconds };
    }
  }
  return { epochSeconds: best.epochSeconds, epochNanoseconds: best.epochNanoseconds };
}

function contentOf(placement: Placement, xattrBytes: number) {
  const { node, blocks } = placement;
  if (node.type === 'file') {
    const { size, block } = node.content;
    return { size, inline: false, contentBlock: block };
  }
  if (node.type !== 'directory' && node.type !== 'symlink') return { size: 0, inline: false, contentBlock: 0 };
  const tail = node.type === 'symlink' ? node.target.length : (blocks.at(-1)?.bytes ?? 0);
  const size = node.type === 'symlink' ? tail : (blocks.length - 1) * BLOCK_BYTES + tail;
  const inline = tail < BLOCK_BYTES && fitsInline(xattrBytes, tail);
  return { size, inline, contentBlock: inline && size < BLOCK_BYTES ? 0 : placement.block };
}

/** Returns the number of blocks before the inodes that belong to this one. */
function ownBlocks({ node }: Placement, inode: Pick<Inode, 'layout' | 'size'>): number {
  if (node.type !== 'directory' && node.type !== 'symlink') return 0;
  const blocks = inode.size / BLOCK_BYTES;
  return inode.layout === FLAT_INLINE ? Math.floor(blocks) : Math.ceil(blocks);
}

/**
 * Returns the first slot at or after `end` where the inode and everything that must share its block do not cross a
 * block boundary.
 */
function startOf(end: number, inodeBytes: number, togetherBytes: number): number {
  const used = end % BLOCK_BYTES;
  return used + inodeBytes + togetherBytes > BLOCK_BYTES ? end - used + BLOCK_BYTES : end;
}
