import type { LayerFile } from '../erofs/layer-file.ts';
import type { Inode } from '../erofs/format.ts';
import { LayerReader } from '../erofs/reader.ts';
import { isFault } from '../contract/errors.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { metadataOf } from './build-directory.ts';
import { LayerBuilder, type LayerEntry, type LayerSummary } from './layer-builder.ts';
import type { Tree, TreeNode } from './tree.ts';

/** Paths to take out of a layer. */
export interface Removal {
  /** Paths without leading slash, symlinks resolved. */
  readonly paths: ReadonlySet<ByteString>;
  /** Image that the layer is for: directories above the paths are as they are there, or not there at all. */
  readonly image: Tree;
}

/**
 * Writes a layer of changes again at `target`, without some paths and what is below them. Its marks of hidden names stay
 * as they are.
 */
export async function withoutPaths(
  layer: LayerFile,
  target: string,
  removal: Removal,
  signal: AbortSignal,
): Promise<LayerSummary> {
  // Reads the raw layer, because a tree does not show its marks.
  await using reader = await LayerReader.open(layer);
  await using builder = await LayerBuilder.create(target, { signal });
  const root = await reader.root();
  await builder.add('', await entryOfInode(reader, root));
  await new Copy(reader, builder, removal).children('', root);
  return await builder.finish();
}

class Copy {
  readonly #reader: LayerReader;
  readonly #builder: LayerBuilder;
  readonly #removal: Removal;
  readonly #above: ReadonlySet<ByteString>;
  /** First path of each inode with several names. */
  readonly #names = new Map<number, ByteString>();
  readonly #pace = new Pace();

  constructor(reader: LayerReader, builder: LayerBuilder, removal: Removal) {
    this.#reader = reader;
    this.#builder = builder;
    this.#removal = removal;
    this.#above = new Set([...removal.paths].flatMap(ancestorsOf));
  }

  /** Copies what is in a directory. Returns whether there was anything. */
  async children(path: ByteString, directory: Inode): Promise<boolean> {
    let any = false;
    for await (const entries of this.#reader.blocks(directory)) {
      const inodes = await this.#reader.inodes(entries.map(({ nid }) => nid));
      for (const [at, inode] of inodes.entries()) {
        if (this.#pace.due()) await this.#pace.rest();
        const name = entries[at]?.name ?? '';
        any = (await this.#copy(path === '' ? name : `${path}/${name}`, inode)) || any;
      }
    }
    return any;
  }

  async #copy(path: ByteString, inode: Inode): Promise<boolean> {
    if (this.#removal.paths.has(path)) return false;
    if (this.#above.has(path) && inode.type === 'directory') return await this.#copyAbove(path, inode);
    const first = inode.nlink > 1 && inode.type !== 'directory' ? this.#names.get(inode.nid) : undefined;
    if (first !== undefined) {
      await this.#builder.link(path, first);
      return true;
    }
    await this.#builder.add(path, await entryOfInode(this.#reader, inode));
    this.#names.set(inode.nid, path);
    if (inode.type === 'directory') await this.children(path, inode);
    return true;
  }

  /** Copies a directory above a removed path, as the image has it; without one there, only if something else is in it. */
  async #copyAbove(path: ByteString, inode: Inode): Promise<boolean> {
    const known = await nodeAt(this.#removal.image, path);
    const any = await this.children(path, inode);
    if (known?.type === 'directory') {
      const metadata = await metadataOf(this.#removal.image, known);
      await this.#builder.add(path, { type: 'directory', ...metadata });
      return any;
    }
    if (any) await this.#builder.add(path, await entryOfInode(this.#reader, inode));
    return any;
  }
}

async function nodeAt(tree: Tree, path: ByteString): Promise<TreeNode | undefined> {
  try {
    return await tree.resolve(`/${path}`, { followLast: false });
  } catch (error) {
    if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY', 'SYMLINK_LOOP')) return undefined;
    throw error;
  }
}

function ancestorsOf(path: ByteString): ByteString[] {
  const names = path.split('/');
  return names.slice(1).map((_, index) => names.slice(0, index + 1).join('/'));
}

async function entryOfInode(reader: LayerReader, inode: Inode): Promise<LayerEntry> {
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = inode;
  const metadata = {
    mode: mode & 0o7777,
    uid,
    gid,
    mtimeSeconds,
    mtimeNanoseconds,
    xattrs: await reader.xattrs(inode),
  };
  if (inode.type === 'file') return { type: 'file', ...metadata, size: inode.size, content: reader.stream(inode) };
  if (inode.type === 'symlink') return { type: 'symlink', ...metadata, target: await reader.readlink(inode) };
  if (inode.type === 'character' || inode.type === 'block') {
    return { type: inode.type, ...metadata, major: inode.major, minor: inode.minor };
  }
  return { type: inode.type, ...metadata };
}
