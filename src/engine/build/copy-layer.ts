import { posix } from 'node:path';
import { addArchive, ARCHIVE_HEAD_BYTES, archiveKind, type ArchiveKind, holdsTar } from '../../layers/add-archive.ts';
import type { LayerBuilder, LayerEntry } from '../../layers/layer-builder.ts';
import type { Tree, TreeNode } from '../../layers/tree.ts';
import { isFault } from '../../contract/errors.ts';
import type { Unpack } from '../workers/unpack.ts';
import { dockerfileFault } from '../../dockerfile/faults.ts';
import type { DockerIgnore } from '../../dockerfile/ignore.ts';
import type { ModeChange } from '../../dockerfile/mode.ts';
import { NO_XATTRS } from '../../erofs/node.ts';
import { type ByteString, toByteString } from '../../std/bytes.ts';
import { readHead } from '../../std/streams.ts';
import { textFromPath } from '../../std/path-text.ts';
import { locateSource, type SourceNode, STEP_TIME_SECONDS } from './source-node.ts';
import { filesBelow, type Match } from './copy-sources.ts';

/** Owner and mode of what is copied. */
export interface CopyStyle {
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly mode: ModeChange | undefined;
  readonly exclude: DockerIgnore;
  /** True to keep the directories of a source, from its pivot `./` on. */
  readonly parents: boolean;
  /** True to replace symlinks in the destination instead of following them. */
  readonly link: boolean;
}

/** Destination in the image: absolute, with a slash at its end where it must be a directory. */
export interface Destination {
  readonly path: string;
  readonly line: number;
}

/** Builder of the layer of one COPY or ADD. Disposes nothing: its owner disposes the layer builder. */
export class CopyLayer {
  readonly #builder: LayerBuilder;
  readonly #tree: Tree;
  readonly #unpack: Unpack;
  readonly #style: CopyStyle;
  readonly #destination: Destination;
  readonly #signal: AbortSignal;
  /** Directories of the image and of this layer that are known to be there. */
  readonly #made = new Set<ByteString>();
  /** Directories of this layer that the image does not have: nothing is below them. */
  readonly #fresh = new Set<ByteString>();
  /** First path of each file with several names. */
  readonly #inodes = new Map<string, ByteString>();
  /** True when the destination is a directory, whatever it is in the image. */
  readonly #intoDirectory: boolean;

  constructor(
    { builder, tree, unpack }: { readonly builder: LayerBuilder; readonly tree: Tree; readonly unpack: Unpack },
    style: CopyStyle,
    { path, line, several }: Destination & { readonly several: boolean },
    signal: AbortSignal,
  ) {
    this.#builder = builder;
    this.#tree = tree;
    this.#unpack = unpack;
    this.#style = style;
    this.#destination = { path: path.length > 1 ? path.replace(/\/+$/u, '') : path, line };
    this.#intoDirectory = path.endsWith('/') || several || style.parents;
    this.#signal = signal;
  }

  /** Copies what a source of COPY names below a root; `given` is the source as it was written, in which a pivot may be. */
  async copy(
    match: Match,
    { given, root }: { readonly given: string; readonly root: SourceNode },
    { unpack }: { readonly unpack: boolean },
  ): Promise<void> {
    const { node, path } = match;
    if (this.#style.parents) return await this.#copyWithParents(match, given, root);
    if (node.type === 'directory') return await this.#copyTree(match, this.#target);
    if (!this.#style.exclude.ignores(textFromPath(lastName(path)))) await this.add(match, { unpack });
  }

  /** Copies one file, or unpacks it if it is an archive. */
  async add(match: Match, { unpack }: { readonly unpack: boolean }): Promise<void> {
    if (unpack && (await this.#unpacked(match))) return;
    await this.#copyFile(match.node, await this.#fileTarget(lastName(match.path)));
  }

  get #target(): ByteString {
    return toByteString(this.#destination.path).slice(1);
  }

  /** Returns the path of a file of that name: in the destination where that is a directory, otherwise the destination. */
  async #fileTarget(name: ByteString): Promise<ByteString> {
    const existing = await this.#existing(this.#target);
    if (!this.#intoDirectory && existing?.type !== 'directory') return this.#target;
    if (name === '') throw this.#problem('the URL has no file name, so the destination must be one');
    return joined(this.#target, name);
  }

  /** Copies a source with the directories between the root, or the pivot `./`, and itself. */
  async #copyWithParents({ path, node }: Match, given: string, root: SourceNode): Promise<void> {
    const pivot = posix.normalize(`/${given.split('/./')[0] ?? ''}`).slice(1);
    const from = given.includes('/./') && pivot !== '' ? toByteString(pivot).length + 1 : 0;
    const kept = path.slice(from);
    for (let slash = kept.indexOf('/'); slash >= 0; slash = kept.indexOf('/', slash + 1)) {
      const target = joined(this.#target, kept.slice(0, slash));
      const directory = await locateSource(root, path.slice(0, from + slash));
      if (directory?.type === 'directory' && !this.#made.has(target)) await this.#copyFile(directory, target);
    }
    const target = joined(this.#target, kept);
    if (node.type !== 'directory') return await this.#copyFile(node, target);
    if (kept !== '') await this.#copyFile(node, target);
    await this.#copyBelow(node, target);
  }

  /**
   * Copies the content of a directory. The directory itself is not copied: where the image has none, it is made like those
   * above it (Dockerfile reference, COPY).
   */
  async #copyTree({ node }: Match, target: ByteString): Promise<void> {
    const existing = await this.#existing(target);
    if (existing !== undefined && existing.type !== 'directory') {
      throw this.#problem(
        `the image has a ${existing.type} at ${shown(target)}, over which no directory can be copied`,
      );
    }
    if (target !== '') await this.#makeDirectory(target);
    await this.#copyBelow(node, target);
  }

  async #copyBelow(node: SourceNode, target: ByteString): Promise<void> {
    for await (const { rest, node: child } of filesBelow(node, this.#style.exclude)) {
      this.#signal.throwIfAborted();
      if (rest !== '') await this.#copyFile(child, joined(target, rest));
    }
  }

  async #copyFile(node: SourceNode, target: ByteString): Promise<void> {
    await this.#makeParents(target);
    const existing = await this.#existing(target);
    if (node.type === 'directory') {
      // A symlink to a directory stays, so that /bin may be usr/bin.
      if (existing?.isLinked === true) return;
      if (existing !== undefined && existing.type !== 'directory') {
        throw this.#problem(`the image has a ${existing.type} at ${shown(target)}, where a directory would be copied`);
      }
      await this.#builder.add(target, await this.#entry(node));
      this.#made.add(target);
      if (existing === undefined) this.#fresh.add(target);
      return;
    }
    if (existing?.type === 'directory' && !existing.isLinked) {
      throw this.#problem(`the image has a directory at ${shown(target)}, where a file would be copied`);
    }
    const first = node.inode === undefined ? undefined : this.#inodes.get(node.inode);
    if (first !== undefined) return await this.#builder.link(target, first);
    await this.#builder.add(target, await this.#entry(node));
    if (node.inode !== undefined) this.#inodes.set(node.inode, target);
  }

  async #entry(node: SourceNode): Promise<LayerEntry> {
    const entry = await node.entry(this.#signal);
    const { owner = { uid: node.uid, gid: node.gid }, mode } = this.#style;
    const changed =
      mode === undefined || node.type === 'symlink' ? node.mode : mode(node.mode, node.type === 'directory');
    return { ...entry, ...owner, mode: changed };
  }

  /** Unpacks a file into the destination if it is an archive. */
  async #unpacked({ node }: Match): Promise<boolean> {
    const entry = await node.entry(this.#signal);
    if (entry.type !== 'file') return false;
    const kind = await this.#archiveKind(entry.content);
    if (kind === undefined || (kind !== 'tar' && !(await this.#isPackedTar(node, kind)))) return false;
    const existing = await this.#existing(this.#target);
    if (existing !== undefined && existing.type !== 'directory') {
      throw this.#problem(
        `the image has a ${existing.type} at ${shown(this.#target)}, into which nothing can be unpacked`,
      );
    }
    if (existing === undefined) await this.#makeDirectory(this.#target);
    const again = await node.entry(this.#signal);
    if (again.type !== 'file') return false;
    const place = { directory: this.#target, owner: this.#style.owner, packedBytes: again.size };
    await addArchive(this.#builder, place, this.#readable(again.content, kind));
    return true;
  }

  async #archiveKind(content: AsyncIterable<Uint8Array>): Promise<ArchiveKind | undefined> {
    const chunks = content[Symbol.asyncIterator]();
    try {
      return archiveKind((await readHead(chunks, ARCHIVE_HEAD_BYTES)).bytes.subarray(0, ARCHIVE_HEAD_BYTES));
    } finally {
      await chunks.return?.();
    }
  }

  async #isPackedTar(node: Match['node'], kind: ArchiveKind): Promise<boolean> {
    const entry = await node.entry(this.#signal);
    return entry.type === 'file' && (await holdsTar(this.#readable(entry.content, kind), entry.size));
  }

  /** Returns an archive as a tar, plain or in a format that is unpacked where it is read. */
  #readable(content: AsyncIterable<Uint8Array>, kind: ArchiveKind): AsyncIterable<Uint8Array> {
    return kind === 'xz' || kind === 'bzip2' ? this.#unpack(content, kind) : content;
  }

  /** Makes the directories above a path that are not there yet. */
  async #makeParents(target: ByteString): Promise<void> {
    const parent = target.slice(0, Math.max(0, target.lastIndexOf('/')));
    if (parent !== '' && !this.#made.has(parent)) await this.#makeDirectory(parent);
  }

  async #makeDirectory(path: ByteString): Promise<void> {
    const names = path.split('/');
    for (let length = 1; length <= names.length; length += 1) {
      const directory = names.slice(0, length).join('/');
      if (directory === '' || this.#made.has(directory)) continue;
      const existing = await this.#existing(directory);
      if (existing === undefined || (this.#style.link && existing.isLinked)) {
        await this.#builder.add(directory, this.#directory());
        this.#fresh.add(directory);
      } else if (existing.type !== 'directory') {
        throw this.#problem(`the image has a ${existing.type} at ${shown(directory)}, which is not a directory`);
      }
      this.#made.add(directory);
    }
  }

  /** Returns a directory above what is copied, which belongs to the same owner. */
  #directory(): LayerEntry {
    const { owner = { uid: 0, gid: 0 } } = this.#style;
    const metadata = { mode: 0o755, mtimeSeconds: STEP_TIME_SECONDS, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
    return { ...metadata, ...owner, type: 'directory' };
  }

  /** Returns what the image has at a path, symlinks followed; a symlink that leads nowhere is one itself. */
  async #existing(path: ByteString): Promise<Existing | undefined> {
    if (this.#fresh.has(path.slice(0, Math.max(0, path.lastIndexOf('/'))))) return undefined;
    const own = await this.#resolve(path, false);
    if (own?.type !== 'symlink') return own && { type: own.type, isLinked: false };
    const target = await this.#resolve(path, true);
    return target?.type === 'directory' ? { type: 'directory', isLinked: true } : undefined;
  }

  async #resolve(path: ByteString, followLast: boolean): Promise<TreeNode | undefined> {
    try {
      return await this.#tree.resolve(`/${path}`, { followLast });
    } catch (error) {
      if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY', 'SYMLINK_LOOP')) return undefined;
      throw error;
    }
  }

  #problem(reason: string): Error {
    return dockerfileFault(this.#destination.line, reason);
  }
}

/** File of the image at a path. */
interface Existing {
  readonly type: TreeNode['type'];
  /** True for a directory that is reached through a symlink. */
  readonly isLinked: boolean;
}

function joined(directory: ByteString, path: ByteString): ByteString {
  return directory === '' ? path : `${directory}/${path}`;
}

function shown(path: ByteString): string {
  return JSON.stringify(`/${textFromPath(path)}`);
}

function lastName(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf('/') + 1);
}
