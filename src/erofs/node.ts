import type { ByteString } from '../std/bytes.ts';

/** Names with their prefix (`security.capability`) to values. */
export type Xattrs = ReadonlyMap<ByteString, Uint8Array>;

export const NO_XATTRS: Xattrs = new Map();

/** Metadata common to all kinds of files. */
export interface Metadata {
  /** Permission bits with set-uid, set-gid and sticky (`07777`). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly xattrs: Xattrs;
}

/** File content that a LayerWriter has written. */
export interface WrittenContent {
  readonly size: number;
  /** First block of the content; 0 when the content has no blocks. */
  readonly block: number;
}

export interface DirectoryNode extends Metadata {
  readonly type: 'directory';
  readonly children: ReadonlyMap<ByteString, LayerNode>;
}

export interface FileNode extends Metadata {
  readonly type: 'file';
  readonly content: WrittenContent;
}

export interface SymlinkNode extends Metadata {
  readonly type: 'symlink';
  readonly target: ByteString;
}

export interface DeviceNode extends Metadata {
  readonly type: 'character' | 'block';
  readonly major: number;
  readonly minor: number;
}

export interface PipeNode extends Metadata {
  readonly type: 'fifo' | 'socket';
}

/** An inode to be written. One object under several names is one inode with that many hard links. */
export type LayerNode = DirectoryNode | FileNode | SymlinkNode | DeviceNode | PipeNode;
