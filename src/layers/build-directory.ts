import {
  type DeviceNode,
  type DirectoryNode,
  type LayerNode,
  type Metadata,
  NO_XATTRS,
  type Xattrs,
} from '../erofs/node.ts';
import type { ByteString } from '../std/bytes.ts';
import { isWhiteout, OVERLAY_OPAQUE, type Tree, type TreeNode } from './tree.ts';

export type BuildFile = Exclude<LayerNode, DirectoryNode>;
export type BuildNode = BuildDirectory | BuildFile;

/** Metadata of a directory without an entry: tar and every OCI unpacker use it for a missing parent. */
export const IMPLICIT_DIRECTORY: Metadata = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  xattrs: NO_XATTRS,
};

/** Whiteout of overlayfs: hides the name below. */
export const WHITEOUT: DeviceNode = { type: 'character', ...IMPLICIT_DIRECTORY, mode: 0, major: 0, minor: 0 };

/** A directory of the layer being built, with the directory of the image that it is merged with. */
export class BuildDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly #children = new Map<ByteString, BuildNode>();
  /** Names that only repeat the image's: the layer's hard links need the file in the layer, and no entry describes it. */
  readonly #repeated = new Set<ByteString>();
  metadata: Metadata;
  /** True when an entry of the layer describes it; other directories exist only as parents. */
  described = false;
  #lower: TreeNode | undefined;
  #opaque = false;

  constructor(metadata: Metadata, lower: TreeNode | undefined) {
    this.metadata = metadata;
    this.#lower = lower;
  }

  get children(): ReadonlyMap<ByteString, BuildNode> {
    return this.#children;
  }

  put(name: ByteString, node: BuildNode): void {
    this.#children.set(name, node);
    this.#repeated.delete(name);
  }

  /** Puts the copy of a file of the image under its own name; what hides the file hides the copy. */
  repeat(name: ByteString, copy: BuildFile): void {
    this.#children.set(name, copy);
    this.#repeated.add(name);
  }

  /** Reports whether the layer itself has nothing at this name that a whiteout of the image leaves. */
  isBareAt(name: ByteString): boolean {
    const child = this.#children.get(name);
    if (child === undefined || this.#repeated.has(name)) return true;
    return child instanceof BuildDirectory ? child.bare : isWhiteout(child);
  }

  /** Returns the visible directory of the image below; undefined when there is none or it is hidden. */
  get lower(): TreeNode | undefined {
    return this.#lower;
  }

  get mode(): number {
    return this.metadata.mode;
  }

  get uid(): number {
    return this.metadata.uid;
  }

  get gid(): number {
    return this.metadata.gid;
  }

  get mtimeSeconds(): number {
    return this.metadata.mtimeSeconds;
  }

  get mtimeNanoseconds(): number {
    return this.metadata.mtimeNanoseconds;
  }

  get xattrs(): Xattrs {
    if (!this.#opaque) return this.metadata.xattrs;
    return new Map([...this.metadata.xattrs, [OVERLAY_OPAQUE, Buffer.from('y')]]);
  }

  /** Reports whether the layer has nothing here but marks and files that it repeats. */
  get bare(): boolean {
    return !this.described && [...this.#children.keys()].every((name) => this.isBareAt(name));
  }

  /** Makes the directory opaque if there is anything below. */
  hideLower(): void {
    if (this.#lower === undefined) return;
    this.#detach();
    this.#opaque = true;
  }

  /**
   * Drops the lower directory here and in every subdirectory; marks with nothing to hide would be visible in the guest.
   */
  #detach(): void {
    this.#lower = undefined;
    this.#opaque = false;
    for (const [name, child] of this.#children) {
      if (this.isBareAt(name)) this.#children.delete(name);
      else if (child instanceof BuildDirectory) child.#detach();
    }
    this.#repeated.clear();
  }
}

export async function metadataOf(tree: Tree, node: TreeNode): Promise<Metadata> {
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = node;
  return { mode: mode & 0o7777, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs: await tree.xattrs(node) };
}
