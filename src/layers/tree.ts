import { fault } from '../contract/errors.ts';
import type { LayerFile } from '../erofs/layer-file.ts';
import { limits } from '../contract/limits.ts';
import type { Inode } from '../erofs/format.ts';
import { NO_XATTRS, type Xattrs } from '../erofs/node.ts';
import { ReaderPool } from '../erofs/reader-pool.ts';
import { defined } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { LoopGuard } from './loop-guard.ts';
import { mergedEntries, type Source } from './merged-entries.ts';
import { printable, splitPath } from './path.ts';

export const OVERLAY_OPAQUE = 'trusted.overlay.opaque';
export const OVERLAY_PREFIX = 'trusted.overlay.';

/** Directories that a tree remembers, some hundred bytes each; beyond it the memory is cleared. */
const REMEMBERED_MAX = 10_000;
const NO_SOURCES: readonly Source[] = [];
const NO_CHILDREN: readonly TreeEntry[] = [];

/** One file of an image. Valid as long as its Tree is open. */
export class TreeNode {
  readonly type: Inode['type'];
  /** `st_mode` with type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly nlink: number;
  readonly major: number;
  readonly minor: number;
  /** Sources, topmost first; only directories may have several. */
  readonly sources: readonly Source[];

  constructor(sources: readonly Source[]) {
    const { inode } = defined(sources[0], 'a node has a source');
    this.type = inode.type;
    this.mode = inode.mode;
    this.uid = inode.uid;
    this.gid = inode.gid;
    this.size = inode.size;
    this.mtimeSeconds = inode.mtimeSeconds;
    this.mtimeNanoseconds = inode.mtimeNanoseconds;
    this.nlink = inode.nlink;
    this.major = inode.major;
    this.minor = inode.minor;
    this.sources = sources;
  }

  /**
   * Returns the key of the inode across all trees of the process that share layers: hard links have equal keys, and
   * equal keys of two trees mean equal content; for directories, an equal subtree.
   */
  get key(): string {
    return this.sources.map(({ reader, inode }) => `${reader.id}:${inode.nid}`).join('/');
  }

  /** Reports whether both have the same key. */
  is(other: TreeNode): boolean {
    return (
      this.sources.length === other.sources.length &&
      this.sources.every(({ reader, inode }, index) => {
        const source = other.sources[index];
        return reader === source?.reader && inode.nid === source.inode.nid;
      })
    );
  }

  /** Returns false only when there are no xattrs. */
  get mayHaveXattrs(): boolean {
    return defined(this.sources[0], 'a node has a source').inode.xattrBytes > 0;
  }
}

export interface TreeEntry {
  readonly name: ByteString;
  readonly node: TreeNode;
}

export interface WalkEntry {
  /** Path from the start of the walk (or the root), without leading slash; empty for the start itself. */
  readonly path: ByteString;
  readonly node: TreeNode;
}

export interface ResolveOptions {
  /** True to follow a symlink at the end of the path (default). */
  readonly followLast?: boolean;
}

/**
 * Merged, read-only view of an image's layers with overlay semantics: upper names hide lower ones, directories of
 * the same name are merged, whiteouts and opaque directories hide what is below. Paths never leave the image.
 */
export class Tree implements AsyncDisposable {
  readonly root: TreeNode;
  readonly #pool: ReaderPool;
  readonly #ownsPool: boolean;
  readonly #layers: readonly LayerFile[];
  #subdirectories = new WeakMap<TreeNode, Map<ByteString, TreeNode>>();
  #remembered = 0;
  /** Cached data is read synchronously; reading a whole image still yields to other work. */
  readonly #pace = new Pace();

  private constructor(root: TreeNode, pool: ReaderPool, ownsPool: boolean, layers: readonly LayerFile[]) {
    this.root = root;
    this.#pool = pool;
    this.#ownsPool = ownsPool;
    this.#layers = layers;
  }

  /**
   * Opens the layers, bottom first. With a pool, readers are shared and stay open; without one, they are closed with
   * the tree.
   */
  static async open(layers: readonly LayerFile[], pool?: ReaderPool): Promise<Tree> {
    const readers = pool ?? new ReaderPool();
    const opened: LayerFile[] = [];
    try {
      const sources: Source[] = [];
      // A layer that occurs again further down adds nothing: its upper occurrence has all its names.
      for (const layer of new Map(layers.toReversed().map((layer) => [layer.path, layer])).values()) {
        const reader = await readers.acquire(layer);
        opened.push(layer);
        sources.push({ reader, inode: await reader.root() });
      }
      if (sources.length === 0) throw fault('ARGUMENT_INVALID', { reason: 'an image has at least one layer' });
      return new Tree(new TreeNode(sources), readers, pool === undefined, opened);
    } catch (error) {
      for (const layer of opened) await readers.release(layer);
      if (pool === undefined) await readers[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Returns the node at an absolute path. Faults: FILE_NOT_FOUND with the nearest existing directory, NOT_A_DIRECTORY,
   * SYMLINK_LOOP, PATH_INVALID.
   */
  async resolve(path: ByteString, options: ResolveOptions = {}): Promise<TreeNode> {
    return (await this.locate(path, options)).node;
  }

  /**
   * Resolves a path like `resolve`, and also returns its path without symlinks; that has no leading slash and is empty
   * for the root.
   */
  async locate(path: ByteString, options: ResolveOptions = {}): Promise<WalkEntry> {
    const pending = splitPath(path).toReversed();
    const stack: TreeEntry[] = [{ name: '', node: this.root }];
    let follows = 0;
    while (pending.length > 0) {
      if (this.#pace.due()) await this.#pace.rest();
      const name = defined(pending.pop(), 'not empty');
      const { node: directory } = defined(stack.at(-1), 'the root stays');
      if (name === '..') {
        if (stack.length > 1) stack.pop();
        continue;
      }
      if (directory.type !== 'directory') {
        throw fault('NOT_A_DIRECTORY', { path: printable(joined(stack)), type: directory.type });
      }
      const node = await this.find(directory, name);
      if (node === undefined)
        throw fault('FILE_NOT_FOUND', { path: printable(path), nearest: printable(joined(stack)) });
      if (node.type === 'symlink' && (pending.length > 0 || options.followLast !== false)) {
        if (++follows > limits.symlinkFollowsMax) throw fault('SYMLINK_LOOP', { path: printable(path) });
        const target = await this.readlink(node);
        if (target.startsWith('/')) stack.length = 1;
        pending.push(...splitPath(target).toReversed());
        continue;
      }
      stack.push({ name, node });
    }
    return { path: joined(stack).slice(1), node: defined(stack.at(-1), 'the root stays').node };
  }

  /** Returns the child of that name, or undefined. Symlinks are not followed. */
  async find(directory: TreeNode, name: ByteString): Promise<TreeNode | undefined> {
    const known = this.#subdirectories.get(directory)?.get(name);
    if (known !== undefined) return known;
    const node = await this.#lookUp(directory, name);
    if (node?.type === 'directory') this.#remember(directory, name, node);
    return node;
  }

  async #lookUp(directory: TreeNode, name: ByteString): Promise<TreeNode | undefined> {
    const found: Source[] = [];
    for (const { reader, inode: parent } of directory.sources) {
      const entry = await reader.find(parent, name);
      if (entry === undefined) continue;
      const source = { reader, inode: await reader.inode(entry.nid) };
      if (!(await merge(found, source))) break;
    }
    return found.length === 0 ? undefined : new TreeNode(found);
  }

  /** Returns all children, ascending in byte order. */
  async list(directory: TreeNode): Promise<TreeEntry[]> {
    const children: TreeEntry[] = [];
    for await (const some of this.children(directory)) children.push(...some);
    return children;
  }

  /**
   * Yields what `list` returns, some at a time: a directory of a million files takes no more memory than a small one.
   */
  async *children(directory: TreeNode): AsyncGenerator<readonly TreeEntry[]> {
    for await (const entries of mergedEntries(directory.sources)) {
      const children: TreeEntry[] = [];
      for (const { name, sources } of entries) {
        if (this.#pace.due()) await this.#pace.rest();
        const visible = sources.length === 1 ? onlyVisible(sources) : await visibleOf(sources);
        if (visible.length > 0) children.push({ name, node: new TreeNode(visible) });
      }
      yield children;
    }
  }

  /**
   * Yields every file from `start` (default: the root) down, itself first; parents before children, siblings in byte
   * order. `enters` is asked for each directory below `start` whether to go on there.
   */
  async *walk(
    start: TreeNode = this.root,
    enters: (path: ByteString) => boolean = () => true,
  ): AsyncGenerator<WalkEntry> {
    yield { path: '', node: start };
    if (start.type !== 'directory') return;
    const guard = new LoopGuard();
    guard.enter(start, '');
    const pending = [{ prefix: '', children: this.children(start), some: NO_CHILDREN, at: 0 }];
    for (let place = pending.at(-1); place !== undefined; place = pending.at(-1)) {
      const entry = place.some[place.at++];
      if (entry === undefined) {
        const next = await place.children.next();
        if (next.done === true) pending.pop();
        else [place.some, place.at] = [next.value, 0];
        continue;
      }
      const { name, node } = entry;
      const path = place.prefix + name;
      yield { path, node };
      if (node.type !== 'directory' || !enters(path)) continue;
      guard.enter(node, path);
      pending.push({ prefix: `${path}/`, children: this.children(node), some: NO_CHILDREN, at: 0 });
    }
  }

  async readlink(symlink: TreeNode): Promise<ByteString> {
    const { reader, inode } = top(symlink);
    return reader.readlink(inode);
  }

  /** Returns xattrs as a process in the guest sees them: without the overlay's own. */
  async xattrs(node: TreeNode): Promise<Xattrs> {
    const { reader, inode } = top(node);
    const xattrs = await reader.xattrs(inode);
    if (xattrs.size === 0) return NO_XATTRS;
    return new Map([...xattrs].filter(([name]) => !name.startsWith(OVERLAY_PREFIX)));
  }

  /** Returns up to `length` bytes of a regular file from `offset`; fewer only at the end of the file. */
  async read(file: TreeNode, offset: number, length: number): Promise<Buffer> {
    const { reader, inode } = top(file);
    return reader.read(inode, offset, length);
  }

  /** Streams the content of a regular file from `offset`, at most `length` bytes. */
  stream(file: TreeNode, offset?: number, length?: number): AsyncIterable<Buffer> {
    const { reader, inode } = top(file);
    return reader.stream(inode, offset, length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const layer of this.#layers) await this.#pool.release(layer);
    if (this.#ownsPool) await this.#pool[Symbol.asyncDispose]();
  }

  /** Remembers a directory, so that finding it again needs no reads: in a deep chain, a lookup asks every layer. */
  #remember(directory: TreeNode, name: ByteString, node: TreeNode): void {
    if (++this.#remembered > REMEMBERED_MAX) {
      this.#subdirectories = new WeakMap();
      this.#remembered = 1;
    }
    const names = this.#subdirectories.get(directory) ?? new Map<ByteString, TreeNode>();
    this.#subdirectories.set(directory, names.set(name, node));
  }
}

/** Reports whether a node is the character device 0/0, the whiteout of overlayfs. */
export function isWhiteout(node: {
  readonly type: Inode['type'];
  readonly major?: number;
  readonly minor?: number;
}): boolean {
  return node.type === 'character' && node.major === 0 && node.minor === 0;
}

/** Adds the content of one more layer at a name. Returns whether layers below can still contribute. */
function merge(sources: Source[], source: Source): boolean | Promise<boolean> {
  const { inode } = source;
  if (isWhiteout(inode)) return false;
  if (inode.type !== 'directory') {
    if (sources.length === 0) sources.push(source);
    return false;
  }
  sources.push(source);
  return inode.xattrBytes === 0 || isTransparent(source);
}

/** Returns the visible sources of a name from the layers that have it. */
async function visibleOf(sources: readonly Source[]): Promise<readonly Source[]> {
  const visible: Source[] = [];
  for (const source of sources) {
    const open = merge(visible, source);
    if (!(typeof open === 'boolean' ? open : await open)) break;
  }
  return visible;
}

/** The same of one layer, without waiting. */
function onlyVisible(sources: readonly Source[]): readonly Source[] {
  return sources.some(({ inode }) => isWhiteout(inode)) ? NO_SOURCES : sources;
}

async function isTransparent({ reader, inode }: Source): Promise<boolean> {
  const opaque = (await reader.xattrs(inode)).get(OVERLAY_OPAQUE);
  return opaque === undefined || Buffer.from(opaque).toString('latin1') !== 'y';
}

function top(node: TreeNode): Source {
  return defined(node.sources[0], 'a node has a source');
}

function joined(stack: readonly TreeEntry[]): ByteString {
  return stack.length === 1 ? '/' : stack.map(({ name }) => name).join('/');
}
