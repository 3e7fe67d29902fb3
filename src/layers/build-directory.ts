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
  readonly children: Map<ByteString, BuildNode> = new Map();
  metadata: Metadata;
  /** True when an entry of the layer describes it; other directories exist only as parents. */
  described = false;
  #lower: TreeNode | undefined;
  #opaque = false;

  constructor(metadata: Metadata, lower: TreeNode | undefined) {
    this.metadata = metadata;
    this.#lower = lower;
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

  /** Reports whether the layer has nothing here but whiteouts and opaque marks. */
  get bare(): boolean {
    if (this.described) return false;
    for (const child of this.children.values()) {
      if (child instanceof BuildDirectory ? !child.bare : !isWhiteout(child)) return false;
    }
    return true;
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
    for (const [name, child] of this.children) {
      if (child instanceof BuildDirectory ? child.bare : isWhiteout(child)) this.children.delete(name);
      else if (child instanceof BuildDirectory) child.#detach();
    }
  }
}

export async function metadataOf(tree: Tree, node: TreeNode): Promise<Metadata> {
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = node;
  return { mode: mode & 0o7777, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs: await tree.xattrs(node) };
}
