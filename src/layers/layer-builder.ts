import type { FileHandle } from 'node:fs/promises';
import { fault, isFault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { DEVICE_MAJOR_MAX, DEVICE_MINOR_MAX, ownerId, SYMLINK_BYTES_MAX } from '../erofs/format.ts';
import { type Metadata, NO_XATTRS, type Xattrs } from '../erofs/node.ts';
import { type LayerDigest, LayerWriter } from '../erofs/writer.ts';
import { xattrAreaBytes } from '../erofs/xattr.ts';
import { assert, defined } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import {
  BuildDirectory,
  type BuildFile,
  type BuildNode,
  IMPLICIT_DIRECTORY,
  metadataOf,
  WHITEOUT,
} from './build-directory.ts';
import { type MetadataBudget, metadataBudget, MetadataShare } from './metadata-budget.ts';
import { OverlayCursor } from './overlay-cursor.ts';
import { printable, splitEntryPath } from './path.ts';
import { isWhiteout, type Tree, TreeNode } from './tree.ts';

/** One file to put into a layer. */
export type LayerEntry = Metadata &
  (
    | { readonly type: 'file'; readonly size: number; readonly content: AsyncIterable<Uint8Array> }
    | { readonly type: 'symlink'; readonly target: ByteString }
    | { readonly type: 'character' | 'block'; readonly major: number; readonly minor: number }
    | { readonly type: 'directory' | 'fifo' | 'socket' }
  );

export interface LayerSummary extends LayerDigest {
  /** Names put into the layer, whiteouts and replaced ones included. */
  readonly entries: number;
  /** Bytes of file content put into the layer. */
  readonly contentBytes: number;
}

export interface LayerBuilderOptions {
  /** Image below the layer; without it, the layer is the bottom one. It must stay open until `finish`. */
  readonly lower?: Tree | undefined;
  /** Bound of the layer file; more is LAYER_LIMIT. */
  readonly bytesMax?: number | undefined;
  /** Bound of the entries added; more is LAYER_LIMIT. */
  readonly entriesMax?: number | undefined;
  /** Budget of the memory (default: that of the process). */
  readonly budget?: MetadataBudget | undefined;
  /** Ends a wait for memory. */
  readonly signal?: AbortSignal | undefined;
}

const CHARGE_PER_ENTRY_BYTES = 128;
/** Memory of an entry until its layer is written, without its name and xattrs; measured. */
const MEMORY_PER_ENTRY_BYTES = 512;

/**
 * Builder of one layer on top of an image, entry by entry, as if each were unpacked onto it: symlinks in paths are
 * resolved inside the image, missing parents get the metadata they have below (otherwise root, 0755), a later entry
 * replaces an earlier one of the same path, a directory keeps its children. Paths are byte strings with or without
 * leading slash; `..` in them is refused. Disposing before `finish` has resolved removes the file. Faults:
 * LAYER_MALFORMED, LAYER_LIMIT, DISK_FULL.
 */
export class LayerBuilder implements AsyncDisposable {
  readonly #writer: LayerWriter;
  readonly #lower: Tree | undefined;
  readonly #root: BuildDirectory;
  readonly #cursor: OverlayCursor;
  readonly #entriesMax: number;
  readonly #share: MetadataShare;
  /** Entries of an archive come from memory, so nothing else would let other work run. */
  readonly #pace = new Pace();
  /** Files of the image that were copied into the layer for hard links, by key. */
  readonly #copies = new Map<string, BuildFile>();
  #entries = 0;
  #contentBytes = 0;
  #metadataBytes = 0;

  private constructor(writer: LayerWriter, root: BuildDirectory, options: LayerBuilderOptions) {
    this.#writer = writer;
    this.#lower = options.lower;
    this.#root = root;
    this.#cursor = new OverlayCursor(root, options.lower);
    this.#entriesMax = options.entriesMax ?? limits.entriesPerLayerMax;
    this.#share = new MetadataShare(options.budget ?? metadataBudget, options.signal);
  }

  /** Creates the builder and the new file at `target`, or writes to a file that the caller has opened and closes. */
  static async create(target: string | FileHandle, options: LayerBuilderOptions = {}): Promise<LayerBuilder> {
    const { lower } = options;
    const root =
      lower === undefined
        ? new BuildDirectory(IMPLICIT_DIRECTORY, undefined)
        : new BuildDirectory(await metadataOf(lower, lower.root), lower.root);
    return new LayerBuilder(await LayerWriter.create(target, options.bytesMax), root, options);
  }

  async add(path: ByteString, entry: LayerEntry): Promise<void> {
    const names = splitEntryPath(path);
    await this.#charge(entry.xattrs, names.at(-1)?.length ?? 0);
    const name = names.pop();
    if (name === undefined) {
      if (entry.type !== 'directory') throw malformed('the root is not a directory');
      this.#root.metadata = metadataFrom(entry);
      return;
    }
    const parent = await this.#cursor.enter(names);
    if (entry.type === 'directory') await this.#addDirectory(parent, name, entry);
    else parent.put(name, await this.#nodeFrom(entry));
  }

  /** Makes `path` another name of the file at `target`, which may be in the image below, even where the layer hides it. */
  async link(path: ByteString, target: ByteString): Promise<void> {
    await this.#charge(NO_XATTRS, 0);
    const names = splitEntryPath(path);
    const name = names.pop();
    const targetNames = splitEntryPath(target);
    const targetName = targetNames.pop();
    if (name === undefined || targetName === undefined) throw malformed('a hard link with an empty name');
    const { directory, lower } = await this.#cursor.look(targetNames);
    const known = directory?.children.get(targetName);
    const below = known !== undefined || lower === undefined ? undefined : await this.#lower?.find(lower, targetName);
    const visible = known !== undefined && isWhiteout(known) ? undefined : (known ?? below);
    const hidden = visible === undefined ? await this.#hidden(target) : undefined;
    const found = visible ?? hidden;
    if (found === undefined) {
      throw malformed(`hard link ${printable(path)} to ${printable(target)}, which does not exist`);
    }
    if (found.type === 'directory') throw malformed(`hard link ${printable(path)} to a directory`);
    const node = found instanceof TreeNode ? await this.#copyUp(found) : found;
    // Copied content is also added under the target's name, so that both names stay one inode.
    if (below !== undefined) (await this.#cursor.enter(targetNames)).repeat(targetName, node);
    (await this.#cursor.enter(names)).put(name, node);
  }

  /** Hides whatever the image has at `path`. Does nothing where it has nothing. */
  async whiteout(path: ByteString): Promise<void> {
    await this.#charge(NO_XATTRS, 0);
    const names = splitEntryPath(path);
    const name = names.pop();
    if (name === undefined) throw malformed('a whiteout without a name');
    const { lower, directory } = await this.#cursor.look(names);
    const hidden = lower === undefined ? undefined : await this.#lower?.find(lower, name);
    if (hidden === undefined) return;
    if (directory?.isBareAt(name) ?? true) (await this.#cursor.enter(names)).put(name, WHITEOUT);
    else hideBelow(directory?.children.get(name));
  }

  /**
   * Hides everything the image has in the directory at `path`. Does nothing where it has no directory: the target of a
   * symlink at `path` is another one.
   */
  async opaque(path: ByteString): Promise<void> {
    await this.#charge(NO_XATTRS, 0);
    const names = splitEntryPath(path);
    const name = names.at(-1);
    if (name === undefined) return this.#hideLowerRoot();
    const { directory, lower } = await this.#cursor.look(names.slice(0, -1));
    const child = directory?.children.get(name);
    if (child !== undefined) return hideBelow(child);
    const below = lower === undefined ? undefined : await this.#lower?.find(lower, name);
    if (below?.type === 'directory') (await this.#cursor.enter(names)).hideLower();
  }

  /** Writes the layer. Nothing can be added afterwards. */
  async finish(): Promise<LayerSummary> {
    const digest = await this.#writer.finish(this.#root);
    return { ...digest, entries: this.#entries, contentBytes: this.#contentBytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#share[Symbol.dispose]();
    await this.#writer[Symbol.asyncDispose]();
  }

  /** Counts one more entry and the memory it needs until the layer is written, and waits for that if necessary. */
  async #charge(xattrs: Xattrs, nameBytes: number): Promise<void> {
    this.#entries++;
    const variableBytes = nameBytes + xattrAreaBytes(xattrs);
    this.#metadataBytes += CHARGE_PER_ENTRY_BYTES + variableBytes;
    if (this.#entries > this.#entriesMax) throw fault('LAYER_LIMIT', { what: 'entries', limit: this.#entriesMax });
    if (this.#metadataBytes > limits.metadataBytesMax) {
      throw fault('LAYER_LIMIT', { what: 'bytes of metadata', limit: limits.metadataBytesMax });
    }
    const memory = this.#share.take(MEMORY_PER_ENTRY_BYTES + variableBytes);
    if (memory !== undefined) await memory;
    if (this.#pace.due()) await this.#pace.rest();
  }

  async #addDirectory(parent: BuildDirectory, name: ByteString, metadata: Metadata): Promise<void> {
    const child = parent.children.get(name);
    if (child instanceof BuildDirectory) {
      child.metadata = metadataFrom(metadata);
      child.described = true;
      return;
    }
    const below = parent.lower === undefined ? undefined : await this.#lower?.find(parent.lower, name);
    const lower = below?.type === 'directory' ? below : undefined;
    const directory = new BuildDirectory(metadataFrom(metadata), lower);
    directory.described = true;
    // The entry it replaces in this layer had hidden the directory below.
    if (child !== undefined) directory.hideLower();
    parent.put(name, directory);
  }

  async #nodeFrom(entry: LayerEntry): Promise<BuildFile> {
    const metadata = metadataFrom(entry);
    if (entry.type === 'file') {
      this.#contentBytes += entry.size;
      return { type: 'file', ...metadata, content: await this.#writer.append(entry.content, entry.size) };
    }
    if (entry.type === 'symlink') {
      const { target } = entry;
      if (target === '' || target.length > SYMLINK_BYTES_MAX || target.includes('\0'))
        throw malformed('an invalid symlink target');
      this.#metadataBytes += target.length;
      return { type: 'symlink', ...metadata, target };
    }
    if (entry.type === 'character' || entry.type === 'block') {
      const { major, minor } = entry;
      if (major < 0 || major > DEVICE_MAJOR_MAX || minor < 0 || minor > DEVICE_MINOR_MAX)
        throw malformed('a wrong device number');
      return { type: entry.type, ...metadata, major, minor };
    }
    assert(entry.type !== 'directory', 'directories are merged, not put');
    return { type: entry.type, ...metadata };
  }

  /** Returns the file of the image at a path, whatever the layer does to it. */
  async #hidden(path: ByteString): Promise<TreeNode | undefined> {
    try {
      return await this.#lower?.resolve(path, { followLast: false });
    } catch (error) {
      if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY', 'SYMLINK_LOOP', 'PATH_INVALID')) return undefined;
      throw error;
    }
  }

  /** Copies a file of the image into this layer, once for all its names. */
  async #copyUp(below: TreeNode): Promise<BuildFile> {
    const { key } = below;
    const tree = defined(this.#lower, 'the file lies in it');
    const copy = this.#copies.get(key) ?? (await this.#nodeFrom(await entryOf(tree, below)));
    this.#copies.set(key, copy);
    return copy;
  }

  /** Hides each name of the image's root, because Linux ignores the opaque mark on the root of a layer. */
  async #hideLowerRoot(): Promise<void> {
    const { lower } = this.#root;
    if (lower === undefined || this.#lower === undefined) return;
    for (const { name } of await this.#lower.list(lower)) {
      if (this.#root.isBareAt(name)) this.#root.put(name, WHITEOUT);
      else hideBelow(this.#root.children.get(name));
    }
  }
}

/** Hides what the image has below an entry of the layer, which itself stays. */
function hideBelow(entry: BuildNode | undefined): void {
  if (entry instanceof BuildDirectory) entry.hideLower();
}

/** Returns the file at a node of `tree` as an entry for another layer. */
export async function entryOf(tree: Tree, node: TreeNode): Promise<LayerEntry> {
  const metadata = await metadataOf(tree, node);
  if (node.type === 'file') return { type: 'file', ...metadata, size: node.size, content: tree.stream(node) };
  if (node.type === 'symlink') return { type: 'symlink', ...metadata, target: await tree.readlink(node) };
  if (node.type === 'character' || node.type === 'block') {
    return { type: node.type, ...metadata, major: node.major, minor: node.minor };
  }
  return { type: node.type, ...metadata };
}

/** Returns only the metadata, so that the layer does not keep content sources alive. */
function metadataFrom({ mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs }: Metadata): Metadata {
  return { mode, uid: ownerId(uid), gid: ownerId(gid), mtimeSeconds, mtimeNanoseconds, xattrs };
}

function malformed(reason: string): Error {
  return fault('LAYER_MALFORMED', { reason });
}
