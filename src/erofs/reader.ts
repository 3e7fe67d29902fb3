import { type FileHandle, open } from 'node:fs/promises';
import type { LayerFile } from './layer-file.ts';
import { limits } from '../contract/limits.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { WINDOW_BYTES, WindowCache } from './cache.ts';
import { damaged } from './damage.ts';
import { type Dirent, DirectoryBlock } from './directory.ts';
import {
  BLOCK_BYTES,
  COMPACT_INODE_BYTES,
  decodeInode,
  decodeSuperblock,
  EXTENDED_INODE_BYTES,
  FLAT_INLINE,
  type Inode,
  inodeBytesAt,
  SLOT_BYTES,
  type Superblock,
  SYMLINK_BYTES_MAX,
} from './format.ts';
import { NO_XATTRS, type Xattrs } from './node.ts';
import { decodeXattrs } from './xattr.ts';

/** Content is streamed in pieces of this size. */
const STREAM_BYTES = 256 * 1024;
/** Content up to this size is read together with that of its neighbours. */
const SMALL_BYTES = WINDOW_BYTES / 4;

const NOTHING = Buffer.alloc(0);

/** Positions in a layer file, from `start` up to `end`. */
export interface LayerRange {
  readonly start: number;
  readonly end: number;
}

let readersOpened = 0;

/**
 * Reader of one layer file. Its bytes are not trusted: whatever they are, every method terminates, uses memory only in
 * proportion to its result, and returns or throws STORE_CORRUPT. It may be used concurrently.
 */
export class LayerReader implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #cache: WindowCache;
  /** Unique number of the reader within the process. */
  readonly id: number = readersOpened++;
  readonly #bytes: number;
  readonly #superblock: Superblock;
  readonly #pace = new Pace();

  private constructor(file: FileHandle, bytes: number, superblock: Superblock, cache: WindowCache) {
    this.#file = file;
    this.#bytes = bytes;
    this.#superblock = superblock;
    this.#cache = cache;
  }

  static async open(layer: LayerFile, cache: WindowCache = new WindowCache(4 * WINDOW_BYTES)): Promise<LayerReader> {
    const file = await openLayer(layer.path);
    try {
      const { size } = await file.stat();
      if (size !== layer.bytes) throw damaged(`${size} bytes instead of ${layer.bytes}`);
      const block = Buffer.alloc(BLOCK_BYTES);
      const { bytesRead } = await file.read(block, 0, BLOCK_BYTES, 0);
      return new LayerReader(file, size, decodeSuperblock(block.subarray(0, bytesRead), size), cache);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Reports whether no inode has xattrs and no file an inline tail; false also where the layer does not say so. */
  get plain(): boolean {
    return this.#superblock.plain;
  }

  async root(): Promise<Inode> {
    const root = await this.inode(this.#superblock.rootNid);
    if (root.type !== 'directory') throw damaged('the root is not a directory');
    return root;
  }

  async inode(nid: number): Promise<Inode> {
    const at = this.#inodeOffset(nid);
    const first = await this.#at(at, COMPACT_INODE_BYTES);
    const bytes = inodeBytesAt(first.window, first.offset);
    const { window, offset } = bytes === COMPACT_INODE_BYTES ? first : await this.#at(at, bytes);
    return this.#decode(window, offset, nid);
  }

  /** Returns the inodes with these numbers, in that order; neighbouring inodes are read together. */
  async inodes(nids: readonly number[]): Promise<Inode[]> {
    const inodes: Inode[] = [];
    let start = 0;
    let window: Buffer = NOTHING;
    for (const nid of nids) {
      if (this.#pace.due()) await this.#pace.rest();
      const position = this.#inodeOffset(nid);
      if (position < start || position + EXTENDED_INODE_BYTES > start + window.length) {
        start = position - (position % WINDOW_BYTES);
        window = await this.#window(start);
      }
      const whole = position + EXTENDED_INODE_BYTES <= start + window.length;
      inodes.push(whole ? this.#decode(window, position - start, nid) : await this.inode(nid));
    }
    return inodes;
  }

  /** Returns the entry of that name, or undefined; `.` and `..` are not found. */
  async find(directory: Inode, name: ByteString): Promise<Dirent | undefined> {
    if (name === '.' || name === '..') return undefined;
    let low = 0;
    let high = this.#directoryBlocks(directory) - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const block = await this.#directoryBlock(directory, middle);
      if (name < block.name(0)) high = middle - 1;
      else if (name > block.name(block.count - 1)) low = middle + 1;
      else return block.find(name);
    }
    return undefined;
  }

  /** Returns all entries except `.` and `..`, ascending. */
  async list(directory: Inode): Promise<Dirent[]> {
    const entries: Dirent[] = [];
    for await (const block of this.blocks(directory)) entries.push(...block);
    return entries;
  }

  /**
   * Yields the entries like `list`, one block at a time, so that a large directory takes no more memory than a small
   * one.
   */
  async *blocks(directory: Inode): AsyncGenerator<Dirent[]> {
    let previous = '';
    let total = 0;
    const count = this.#directoryBlocks(directory);
    for (let index = 0; index < count; index++) {
      const block = await this.#directoryBlock(directory, index);
      total += block.count;
      if (total > limits.entriesPerLayerMax + 2) throw damaged('a directory is too large');
      const entries: Dirent[] = [];
      for (let at = 0; at < block.count; at++) {
        if (this.#pace.due()) await this.#pace.rest();
        const entry = block.entry(at);
        if (entry.name <= previous) throw damaged('directory entries are not in order');
        previous = entry.name;
        if (entry.name !== '.' && entry.name !== '..') entries.push(entry);
      }
      yield entries;
    }
  }

  /** Returns the target of a symlink. */
  async readlink(symlink: Inode): Promise<ByteString> {
    if (symlink.type !== 'symlink') throw damaged(`inode ${symlink.nid} is not a symlink`);
    if (symlink.size === 0 || symlink.size > SYMLINK_BYTES_MAX) throw damaged('length of a symlink target');
    const target = (await this.#content(symlink, 0, symlink.size)).toString('latin1');
    if (target.includes('\0')) throw damaged('a symlink target with a zero byte');
    return target;
  }

  async xattrs(inode: Inode): Promise<Xattrs> {
    if (inode.xattrBytes === 0) return NO_XATTRS;
    const area = await this.#pread(this.#inodeOffset(inode.nid) + inode.inodeBytes, inode.xattrBytes);
    return decodeXattrs(area);
  }

  /** Returns up to `length` bytes of a regular file from `offset`; fewer only at the end of the file. */
  async read(file: Inode, offset: number, length: number): Promise<Buffer> {
    return this.#content(file, offset, Math.max(0, Math.min(length, file.size - offset)));
  }

  /**
   * Streams the content of a regular file from `offset`, at most `length` bytes. Small files are usually streamed one
   * after the other, in the order of their content, so several of them share a read.
   */
  async *stream(file: Inode, offset = 0, length: number = file.size): AsyncGenerator<Buffer> {
    const end = Math.min(file.size, offset + length);
    if (end - offset <= SMALL_BYTES && inlineBytes(file) === 0) {
      if (end > offset) yield await this.#small(this.#contentOffset(file, offset), end - offset);
      return;
    }
    for (let position = offset; position < end; position += STREAM_BYTES) {
      yield await this.#content(file, position, Math.min(STREAM_BYTES, end - position));
    }
  }

  /**
   * Returns the position of a regular file's content in the layer file, for `readRaw`: its full blocks and the rest.
   */
  extents(file: Inode): { readonly blocks: LayerRange; readonly rest: LayerRange } {
    const inline = inlineBytes(file);
    const filled = file.size - inline;
    const blocks = this.#contentOffset(file, 0);
    const rest = this.#contentOffset(file, filled);
    return { blocks: { start: blocks, end: blocks + filled }, rest: { start: rest, end: rest + inline } };
  }

  /** Fills `bytes` directly from the layer file, for callers that read the contents of many files at once. */
  async readRaw(position: number, bytes: Buffer): Promise<void> {
    await this.#fill(bytes, position);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  #decode(source: Buffer, at: number, nid: number): Inode {
    const inode = decodeInode(source, at, nid, this.#superblock);
    this.#check(inode);
    return inode;
  }

  #inodeOffset(nid: number): number {
    return this.#superblock.metaBlock * BLOCK_BYTES + nid * SLOT_BYTES;
  }

  /** Checks that everything the inode refers to is inside the file. */
  #check(inode: Inode): void {
    const tail = inlineBytes(inode);
    const inlineEnd = this.#inodeOffset(inode.nid) + inode.inodeBytes + inode.xattrBytes + tail;
    const contentEnd = inode.contentBlock * BLOCK_BYTES + inode.size - tail;
    const hasContent = inode.type === 'file' || inode.type === 'directory' || inode.type === 'symlink';
    if (inlineEnd > this.#bytes || (hasContent && inode.size > tail && contentEnd > this.#bytes)) {
      throw damaged(`inode ${inode.nid} points outside the file`);
    }
    if (inode.mtimeNanoseconds >= 1e9) throw damaged(`inode ${inode.nid} has a wrong time`);
  }

  #directoryBlocks(directory: Inode): number {
    if (directory.type !== 'directory') throw damaged(`inode ${directory.nid} is not a directory`);
    return Math.ceil(directory.size / BLOCK_BYTES);
  }

  async #directoryBlock(directory: Inode, index: number): Promise<DirectoryBlock> {
    const start = index * BLOCK_BYTES;
    const bytes = Math.min(BLOCK_BYTES, directory.size - start);
    const { window, offset } = await this.#at(this.#contentOffset(directory, start), bytes);
    return new DirectoryBlock(window.subarray(offset, offset + bytes));
  }

  /** Returns the file offset of a content byte; bytes of the same block are contiguous in the file. */
  #contentOffset(inode: Inode, at: number): number {
    const inlineStart = inode.size - (inode.size % BLOCK_BYTES);
    if (inode.layout !== FLAT_INLINE || at < inlineStart) return inode.contentBlock * BLOCK_BYTES + at;
    return this.#inodeOffset(inode.nid) + inode.inodeBytes + inode.xattrBytes + (at - inlineStart);
  }

  async #content(inode: Inode, offset: number, length: number): Promise<Buffer> {
    const inlineStart = inode.size - inlineBytes(inode);
    const end = offset + length;
    if (length === 0) return Buffer.alloc(0);
    if (end <= inlineStart) return this.#pread(this.#contentOffset(inode, offset), length);
    const fromInline = Math.max(offset, inlineStart);
    const { window, offset: at } = await this.#at(this.#contentOffset(inode, fromInline), end - fromInline);
    const tail = window.subarray(at, at + end - fromInline);
    if (fromInline === offset) return Buffer.from(tail);
    return Buffer.concat([await this.#pread(this.#contentOffset(inode, offset), inlineStart - offset), tail]);
  }

  /** Reads a few blocks of content through the cache. */
  async #small(position: number, length: number): Promise<Buffer> {
    const { window, offset } = await this.#at(position, length);
    return Buffer.from(window.subarray(offset, offset + length));
  }

  /** Reads at most a few blocks through the cache. */
  async #at(position: number, length: number): Promise<{ readonly window: Buffer; readonly offset: number }> {
    const offset = position % WINDOW_BYTES;
    // A read across windows is rare (our inodes and their tails are in one block) and bypasses the cache.
    if (offset + length > WINDOW_BYTES) return { window: await this.#pread(position, length), offset: 0 };
    const window = await this.#window(position - offset);
    if (offset + length > window.length) throw damaged('the file ends too early');
    return { window, offset };
  }

  /** Returns the window of the layer at a multiple of `WINDOW_BYTES`. */
  #window(start: number): Promise<Buffer> {
    const length = Math.max(0, Math.min(WINDOW_BYTES, this.#bytes - start));
    return this.#cache.get(`${this.id}:${start}`, () => this.#pread(start, length));
  }

  async #pread(position: number, length: number): Promise<Buffer> {
    if (position < 0 || position + length > this.#bytes) throw damaged('a position outside the file');
    const bytes = Buffer.allocUnsafeSlow(length);
    await this.#fill(bytes, position);
    return bytes;
  }

  async #fill(bytes: Buffer, position: number): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const { bytesRead } = await this.#file.read(bytes, done, bytes.length - done, position + done);
      if (bytesRead === 0) throw damaged('the file ends too early');
      done += bytesRead;
    }
  }
}

/** Returns the number of content bytes that are stored after the inode instead of in a block. */
function inlineBytes({ layout, size }: Inode): number {
  return layout === FLAT_INLINE ? size % BLOCK_BYTES : 0;
}

async function openLayer(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw damaged('its file is missing');
  }
}
