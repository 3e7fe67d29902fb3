import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { assert, defined } from '../std/assert.ts';
import { bytesOf } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { encodeDirectoryBlock } from './directory.ts';
import { BLOCK_BYTES, encodeInode, encodeSuperblock, FLAT_INLINE, SLOT_BYTES } from './format.ts';
import { inodeOf, type Layout, type Placement, planLayout } from './layout.ts';
import type { WrittenContent, DirectoryNode } from './node.ts';
import { fullDiskFault, LayerOutput } from './output.ts';
import { isPlain } from './plain.ts';
import { encodeXattrs } from './xattr.ts';
import { writeFully } from '../std/files.ts';

const SLAB_BYTES = 1024 * 1024;
const SCRATCH_BYTES = 256 * 1024;

export interface LayerDigest {
  /** `sha256:<hex>` of the whole file. */
  readonly digest: string;
  readonly bytes: number;
}

/**
 * Writer of one layer file in one pass: `append` every content, then `finish` with the tree that refers to them. The
 * same contents in the same order and the same tree give the same bytes. Disposing before `finish` has resolved removes
 * the file. The finished file is complete but not synced to disk: the caller does that before publishing it.
 */
export class LayerWriter implements AsyncDisposable {
  /** Path of a file that the writer made; undefined for one that its caller owns. */
  readonly #path: string | undefined;
  readonly #file: FileHandle;
  readonly #output: LayerOutput;
  readonly #bytesMax: number;
  #finished = false;
  #closed = false;

  private constructor(path: string | undefined, file: FileHandle, bytesMax: number) {
    this.#path = path;
    this.#file = file;
    this.#bytesMax = bytesMax;
    this.#output = new LayerOutput(file, BLOCK_BYTES, bytesMax);
  }

  /**
   * Creates the file, which must not exist, or writes to an empty one that the caller has opened and closes. More than
   * `bytesMax` bytes is LAYER_LIMIT.
   */
  static async create(target: string | FileHandle, bytesMax: number = limits.layerFileBytesMax): Promise<LayerWriter> {
    if (typeof target !== 'string') return new LayerWriter(undefined, target, bytesMax);
    return new LayerWriter(target, await open(target, 'wx+', 0o644), bytesMax);
  }

  /**
   * Writes the content of a regular file, in whole blocks: a tail behind the inode could not be mapped by gVisor. The source
   * must yield exactly `size` bytes; anything else is LAYER_MALFORMED.
   */
  async append(source: AsyncIterable<Uint8Array>, size: number): Promise<WrittenContent> {
    if (size > this.#bytesMax) throw fault('LAYER_LIMIT', { what: 'bytes', limit: this.#bytesMax });
    const block = size === 0 ? 0 : this.#output.position / BLOCK_BYTES;
    let taken = 0;
    for await (const chunk of source) {
      if (taken + chunk.length > size)
        throw fault('LAYER_MALFORMED', { reason: `content longer than its ${size} bytes` });
      const wait = this.#output.append(chunk);
      if (wait !== undefined) await wait;
      taken += chunk.length;
    }
    if (taken < size) throw fault('LAYER_MALFORMED', { reason: `content ends after ${taken} of ${size} bytes` });
    await this.#output.pad(BLOCK_BYTES);
    return { size, block };
  }

  /** Writes the metadata and the superblock, and hashes the file. */
  async finish(root: DirectoryNode): Promise<LayerDigest> {
    assert(!this.#finished, 'a layer is finished once');
    const firstBlock = this.#output.position / BLOCK_BYTES;
    const layout = await planLayout(root, firstBlock);
    const hash = createHash('sha256');
    const emit = async (bytes: Uint8Array) => {
      hash.update(bytes);
      await this.#output.append(bytes);
    };
    await emitDirectoryBlocks(layout, emit);
    await emitInodes(layout, emit);
    await this.#output.pad(BLOCK_BYTES);
    await this.#output.finish();
    const bytes = this.#output.position;
    const superblock = encodeSuperblock({
      rootNid: defined(layout.placements[0], 'the root is placed').nid,
      inodes: layout.placements.length,
      ...layout.epoch,
      blocks: bytes / BLOCK_BYTES,
      metaBlock: firstBlock + layout.directoryBlocks,
      plain: isPlain(root),
      // Overlayfs distinguishes lower file systems by uuid, so layers need different ones; it is derived to be
      // reproducible.
      uuid: hash.digest().subarray(0, 16),
    });
    await this.#writeSuperblock(superblock);
    const digest = await hashStart(this.#file, bytes);
    this.#finished = true;
    await this.#close();
    return { digest, bytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#output.abandon();
    await this.#close();
    if (!this.#finished && this.#path !== undefined) await rm(this.#path, { force: true });
  }

  async #writeSuperblock(superblock: Uint8Array): Promise<void> {
    try {
      await writeFully(this.#file, [superblock], 0);
    } catch (error) {
      throw fullDiskFault(error);
    }
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#path !== undefined) await this.#file.close();
  }
}

/** A block of names is as much work as so many other steps. */
const NAMES_STEPS = 64;

type Emit = (bytes: Uint8Array) => Promise<void>;

async function emitDirectoryBlocks(layout: Layout, emit: Emit): Promise<void> {
  const pace = new Pace();
  for (const placement of layout.placements) {
    if (pace.due()) await pace.rest();
    const { node } = placement;
    const { layout: form, size } = inodeOf(placement, layout.epoch);
    if (node.type === 'symlink' && form !== FLAT_INLINE) {
      const block = Buffer.alloc(BLOCK_BYTES);
      block.set(bytesOf(node.target));
      await emit(block);
    }
    if (node.type !== 'directory') continue;
    const count = form === FLAT_INLINE ? Math.floor(size / BLOCK_BYTES) : placement.blocks.length;
    for (let index = 0; index < count; index++) {
      if (pace.due(NAMES_STEPS)) await pace.rest();
      const block = Buffer.alloc(BLOCK_BYTES);
      encodeNames(block, 0, { layout, placement, index });
      await emit(block);
    }
  }
}

/** Streams the inode area through one scratch buffer. */
async function emitInodes(layout: Layout, emit: Emit): Promise<void> {
  let scratch = Buffer.alloc(SCRATCH_BYTES);
  let base = 0;
  const pace = new Pace();
  for (const placement of layout.placements) {
    if (pace.due()) await pace.rest();
    const inode = inodeOf(placement, layout.epoch);
    const start = inode.nid * SLOT_BYTES;
    const end = start + inode.inodeBytes + inode.xattrBytes + BLOCK_BYTES;
    if (end - base > scratch.length) {
      await emit(scratch.subarray(0, start - base));
      base = start;
      scratch = Buffer.alloc(Math.max(SCRATCH_BYTES, end - base));
    }
    encodePlacement(scratch, start - base, placement, layout);
  }
  await emit(scratch.subarray(0, layout.metadataBytes - base));
}

function encodePlacement(target: Buffer, at: number, placement: Placement, layout: Layout): void {
  const { node, blocks } = placement;
  const inode = inodeOf(placement, layout.epoch);
  encodeInode(target, at, inode);
  if (inode.xattrBytes > 0) encodeXattrs(target, at + inode.inodeBytes, node.xattrs);
  if (inode.layout !== FLAT_INLINE) return;
  const tail = at + inode.inodeBytes + inode.xattrBytes;
  if (node.type === 'symlink') target.set(bytesOf(node.target), tail);
  if (node.type === 'directory') encodeNames(target, tail, { layout, placement, index: blocks.length - 1 });
}

function encodeNames(
  target: Buffer,
  at: number,
  of: { readonly layout: Layout; readonly placement: Placement; readonly index: number },
): void {
  const { placement, layout } = of;
  const { node, names, blocks } = placement;
  assert(node.type === 'directory', 'only directories have names');
  const first = defined(blocks[of.index], 'the block exists').first;
  const ownLinks = new Map([
    ['.', node],
    ['..', placement.parent?.node ?? node],
  ]);
  const entries = names.slice(first, blocks[of.index + 1]?.first).map((name) => {
    const child = defined(ownLinks.get(name) ?? node.children.get(name), 'every name has a node');
    const { nid } = defined(layout.placementOf.get(child), 'every node is placed');
    return { name, nid, type: child.type };
  });
  encodeDirectoryBlock(target, at, entries);
}

/** Returns the sha256 of the first `bytes` of a file; reads ahead while hashing. */
async function hashStart(file: FileHandle, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const buffers = [Buffer.allocUnsafeSlow(SLAB_BYTES), Buffer.allocUnsafeSlow(SLAB_BYTES)] as const;
  const readAt = (position: number, turn: number) =>
    file.read(buffers[turn % 2 === 0 ? 0 : 1], 0, SLAB_BYTES, position);
  let reading = readAt(0, 0);
  let position = 0;
  for (let turn = 0; position < bytes; turn++) {
    const { bytesRead, buffer } = await reading;
    assert(bytesRead > 0, 'the file is as long as it was written');
    position += bytesRead;
    reading = position < bytes ? readAt(position, turn + 1) : reading;
    hash.update(buffer.subarray(0, bytesRead));
  }
  return `sha256:${hash.digest('hex')}`;
}
