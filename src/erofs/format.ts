import { damaged } from './damage.ts';

/*
 * EROFS as we write it. Source: Linux fs/erofs/erofs_fs.h (the structures) and Linux 5.15 fs/erofs/*.c (what a kernel
 * accepts). All numbers are little-endian. One layer is one file of 4 KiB blocks:
 *
 *   block 0            1 … d            d+1 … m-1            m … end
 *   ┌──────────────┬────────────────┬───────────────────┬─────────────────────────────┐
 *   │ 1024 × 0     │ file content,  │ directory blocks, │ inodes: 32-byte slots; each │
 *   │ superblock   │ in order of    │ long symlink      │ inode is followed by its    │
 *   │ zeros        │ arrival        │ targets           │ xattrs and its inline tail  │
 *   └──────────────┴────────────────┴───────────────────┴─────────────────────────────┘
 *                                                        ▲ meta_blkaddr; nid = slot number from here; slot 0 is unused
 *
 * Content comes first because it is written as it arrives; what describes it is known only afterwards.
 */

export const BLOCK_BYTES = 4096;
export const SLOT_BYTES = 32;
export const COMPACT_INODE_BYTES = 32;
export const EXTENDED_INODE_BYTES = 64;
export const SUPERBLOCK_OFFSET = 1024;
const SUPERBLOCK_MAGIC = 0xe0f5e1e2;

const FEATURE_COMPAT_SB_CHECKSUM = 0x1;
/** The time in an extended inode is mtime, not ctime. */
const FEATURE_COMPAT_MTIME = 0x2;

/** Volume name (16 bytes, which kernels ignore) of a layer that is `Superblock.plain`. Older layers have none. */
const PLAIN = 'contree-plain'.padEnd(16, '\0');

/** Data layouts (`i_format` bits 1–3) in use. */
export const FLAT_PLAIN = 0;
export const FLAT_INLINE = 2;

/** Largest symlink target that Linux follows. */
export const SYMLINK_BYTES_MAX = 4095;
/** `rdev` holds 12 bits of major and 20 bits of minor (`new_encode_dev`). */
export const DEVICE_MAJOR_MAX = 0xfff;
export const DEVICE_MINOR_MAX = 0xfffff;

export type InodeType = 'file' | 'directory' | 'symlink' | 'character' | 'block' | 'fifo' | 'socket';

/** Bits in `st_mode` and `file_type` of directory entries, per type. */
const TYPES: Readonly<Record<InodeType, { readonly mode: number; readonly entry: number }>> = {
  fifo: { mode: 0o010000, entry: 5 },
  character: { mode: 0o020000, entry: 3 },
  directory: { mode: 0o040000, entry: 2 },
  block: { mode: 0o060000, entry: 4 },
  file: { mode: 0o100000, entry: 1 },
  symlink: { mode: 0o120000, entry: 7 },
  socket: { mode: 0o140000, entry: 6 },
};

const typeByMode = new Map<number, InodeType>();
const typeByEntry = new Map<number, InodeType>();
for (const [type, { mode, entry }] of Object.entries(TYPES)) {
  typeByMode.set(mode, type as InodeType);
  typeByEntry.set(entry, type as InodeType);
}

export function typeBits(type: InodeType): number {
  return TYPES[type].mode;
}

export function entryTypeOf(type: InodeType): number {
  return TYPES[type].entry;
}

export function typeOfEntry(entry: number): InodeType {
  const type = typeByEntry.get(entry);
  if (type === undefined) throw damaged(`directory entry of type ${entry}`);
  return type;
}

export interface Superblock {
  readonly rootNid: number;
  readonly inodes: number;
  /** mtime of compact inodes, in seconds since 1970. */
  readonly epochSeconds: number;
  readonly epochNanoseconds: number;
  readonly blocks: number;
  readonly metaBlock: number;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  /** True when no inode has xattrs and no file has an inline tail: gVisor can mount the layer as it is. */
  readonly plain: boolean;
}

/** Returns block 0 of a layer. */
export function encodeSuperblock(superblock: Superblock): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const at = SUPERBLOCK_OFFSET;
  block.writeUInt32LE(SUPERBLOCK_MAGIC, at);
  block.writeUInt32LE(FEATURE_COMPAT_SB_CHECKSUM | FEATURE_COMPAT_MTIME, at + 8);
  block.writeUInt8(Math.log2(BLOCK_BYTES), at + 12);
  block.writeUInt16LE(superblock.rootNid, at + 14);
  block.writeBigUInt64LE(BigInt(superblock.inodes), at + 16);
  block.writeBigInt64LE(BigInt(superblock.epochSeconds), at + 24);
  block.writeUInt32LE(superblock.epochNanoseconds, at + 32);
  block.writeUInt32LE(superblock.blocks, at + 36);
  block.writeUInt32LE(superblock.metaBlock, at + 40);
  block.set(superblock.uuid, at + 48);
  if (superblock.plain) block.write(PLAIN, at + 64, 'latin1');
  block.writeUInt32LE(superblockChecksum(block), at + 4);
  return block;
}

/** Parses block 0; refuses anything this module does not write. */
export function decodeSuperblock(block: Buffer, fileBytes: number): Superblock {
  const at = SUPERBLOCK_OFFSET;
  if (block.length < BLOCK_BYTES) throw damaged('shorter than one block');
  if (block.readUInt32LE(at) !== SUPERBLOCK_MAGIC) throw damaged('no EROFS superblock');
  if (block.readUInt32LE(at + 4) !== superblockChecksum(block)) throw damaged('wrong superblock checksum');
  if (block.readUInt8(at + 12) !== Math.log2(BLOCK_BYTES)) throw damaged('blocks are not 4096 bytes');
  // An incompatible feature means compression, chunks or several devices, which our layers never have.
  if (block.readUInt32LE(at + 80) !== 0) throw damaged('unknown incompatible features');
  const blocks = block.readUInt32LE(at + 36);
  const metaBlock = block.readUInt32LE(at + 40);
  if (blocks * BLOCK_BYTES !== fileBytes) throw damaged(`${blocks} blocks in ${fileBytes} bytes`);
  if (metaBlock === 0 || metaBlock >= blocks) throw damaged('metadata outside the file');
  return {
    rootNid: block.readUInt16LE(at + 14),
    inodes: readUInt64(block, at + 16),
    epochSeconds: Number(block.readBigInt64LE(at + 24)),
    epochNanoseconds: block.readUInt32LE(at + 32),
    blocks,
    metaBlock,
    uuid: Uint8Array.prototype.slice.call(block, at + 48, at + 64),
    plain: block.toString('latin1', at + 64, at + 80) === PLAIN,
  };
}

/** Returns the owner that Linux shows for an id of a file: 2³² − 1 is not a valid one, and appears as the overflow id. */
export function ownerId(id: number): number {
  return id === 0xffff_ffff ? 65_534 : id;
}

/** All fields of an inode, without its xattrs and content. */
export interface Inode {
  /** Identity within the layer. */
  readonly nid: number;
  readonly type: InodeType;
  /** `st_mode` with type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content; for a symlink, the length of its target. */
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly nlink: number;
  /** Device number; 0 for anything but devices. */
  readonly major: number;
  readonly minor: number;
  readonly layout: typeof FLAT_PLAIN | typeof FLAT_INLINE;
  /** First block of the content that is not inline. */
  readonly contentBlock: number;
  /** Bytes of the inode itself: 32 or 64. */
  readonly inodeBytes: number;
  /** Bytes of the xattr area after the inode. */
  readonly xattrBytes: number;
}

/** Reports whether an inode fits the 32-byte form, which has no mtime of its own. */
export function fitsCompact(inode: Omit<Inode, 'inodeBytes'>, epoch: Epoch): boolean {
  return (
    inode.mtimeSeconds === epoch.epochSeconds &&
    inode.mtimeNanoseconds === epoch.epochNanoseconds &&
    inode.uid <= 0xffff &&
    inode.gid <= 0xffff &&
    inode.nlink <= 0xffff &&
    inode.size <= 0xffff_ffff
  );
}

export type Epoch = Pick<Superblock, 'epochSeconds' | 'epochNanoseconds'>;

/** Writes the 32 or 64 bytes of an inode (`inodeBytes`) at `at`. The target is zeroed. */
export function encodeInode(target: Buffer, at: number, inode: Inode): void {
  const extended = inode.inodeBytes === EXTENDED_INODE_BYTES;
  const device = inode.type === 'character' || inode.type === 'block';
  target.writeUInt16LE((inode.layout << 1) | (extended ? 1 : 0), at);
  target.writeUInt16LE(xattrCount(inode.xattrBytes), at + 2);
  target.writeUInt16LE(inode.mode, at + 4);
  target.writeUInt32LE(device ? encodeDevice(inode.major, inode.minor) : inode.contentBlock, at + 16);
  // Only visible in 32-bit stat; it only needs to be unique.
  target.writeUInt32LE(inode.nid >>> 0, at + 20);
  if (!extended) {
    target.writeUInt16LE(inode.nlink, at + 6);
    target.writeUInt32LE(inode.size, at + 8);
    target.writeUInt16LE(inode.uid, at + 24);
    target.writeUInt16LE(inode.gid, at + 26);
    return;
  }
  target.writeUInt32LE(inode.size % 2 ** 32, at + 8);
  target.writeUInt32LE(Math.floor(inode.size / 2 ** 32), at + 12);
  target.writeUInt32LE(inode.uid, at + 24);
  target.writeUInt32LE(inode.gid, at + 28);
  target.writeBigInt64LE(BigInt(inode.mtimeSeconds), at + 32);
  target.writeUInt32LE(inode.mtimeNanoseconds, at + 40);
  target.writeUInt32LE(inode.nlink, at + 44);
}

/** Returns the number of bytes from `at` on that `decodeInode` needs. */
export function inodeBytesAt(source: Buffer, at: number): number {
  return (source.readUInt16LE(at) & 1) === 1 ? EXTENDED_INODE_BYTES : COMPACT_INODE_BYTES;
}

/** Parses the inode at `at`; `source` holds at least `inodeBytesAt` bytes there. */
export function decodeInode(source: Buffer, at: number, nid: number, epoch: Epoch): Inode {
  const format = source.readUInt16LE(at);
  const extended = (format & 1) === 1;
  const layout = format >> 1;
  if (layout !== FLAT_PLAIN && layout !== FLAT_INLINE) throw damaged(`inode ${nid} has layout ${layout}`);
  const mode = source.readUInt16LE(at + 4);
  const type = typeByMode.get(mode & 0o170000);
  if (type === undefined) throw damaged(`inode ${nid} has mode ${mode.toString(8)}`);
  const union = source.readUInt32LE(at + 16);
  const device = type === 'character' || type === 'block';
  const icount = source.readUInt16LE(at + 2);
  return {
    nid,
    type,
    mode,
    uid: ownerId(extended ? source.readUInt32LE(at + 24) : source.readUInt16LE(at + 24)),
    gid: ownerId(extended ? source.readUInt32LE(at + 28) : source.readUInt16LE(at + 26)),
    size: extended ? readUInt64(source, at + 8) : source.readUInt32LE(at + 8),
    mtimeSeconds: extended ? Number(source.readBigInt64LE(at + 32)) : epoch.epochSeconds,
    mtimeNanoseconds: extended ? source.readUInt32LE(at + 40) : epoch.epochNanoseconds,
    nlink: extended ? source.readUInt32LE(at + 44) : source.readUInt16LE(at + 6),
    major: device ? (union >>> 8) & 0xfff : 0,
    minor: device ? (union & 0xff) | ((union >>> 12) & 0xfff00) : 0,
    layout,
    contentBlock: device ? 0 : union,
    inodeBytes: extended ? EXTENDED_INODE_BYTES : COMPACT_INODE_BYTES,
    xattrBytes: icount === 0 ? 0 : 12 + 4 * (icount - 1),
  };
}

/** Reads a u64 that must fit a JavaScript number. */
export function readUInt64(source: Buffer, at: number): number {
  const high = source.readUInt32LE(at + 4);
  if (high >= 0x20_0000) throw damaged('a number above 2^53');
  return high * 2 ** 32 + source.readUInt32LE(at);
}

function xattrCount(xattrBytes: number): number {
  return xattrBytes === 0 ? 0 : (xattrBytes - 12) / 4 + 1;
}

function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/**
 * Returns the CRC-32C of the block after the boot area, with the checksum field as zero and without final inversion, as
 * in Linux.
 */
function superblockChecksum(block: Buffer): number {
  const field = SUPERBLOCK_OFFSET + 4;
  let crc = 0xffff_ffff;
  for (let at = SUPERBLOCK_OFFSET; at < BLOCK_BYTES; at++) {
    const byte = at >= field && at < field + 4 ? 0 : (block[at] ?? 0);
    crc = (crc >>> 8) ^ (crc32cTable[(crc ^ byte) & 0xff] ?? 0);
  }
  return crc >>> 0;
}

const crc32cTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  return crc >>> 0;
});
