import { fault } from '../contract/errors.ts';
import type { ByteString } from '../std/bytes.ts';
import { decompress, unpackBound } from '../tar/compression.ts';
import type { PackedFormat } from '../tar/packed/unpack-file.ts';
import { TarReader } from '../tar/reader.ts';
import type { LayerBuilder } from './layer-builder.ts';

/** Owner that replaces those of an archive. */
export interface ArchiveOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Place at which an archive is unpacked. */
export interface ArchivePlace {
  readonly directory: ByteString;
  /** Owner of everything in it; undefined for those of the archive. */
  readonly owner: ArchiveOwner | undefined;
  /** Bytes of the archive, from which the bound of its content follows. */
  readonly packedBytes: number;
}

/** Bytes of a file from which `archiveKind` knows what it is. */
export const ARCHIVE_HEAD_BYTES = 512;

const CHECKSUM_OFFSET = 148;
const CHECKSUM_BYTES = 8;

/** A tar; data compressed by gzip or zstd, which are unpacked where they are read; or of a format that is not. */
export type ArchiveKind = 'tar' | 'packed' | PackedFormat;

/**
 * Recognizes an archive by its first `ARCHIVE_HEAD_BYTES`: a tar, or data of a
 * format in which tars are packed. A compressed file may turn out to hold no tar.
 */
export function archiveKind(head: Buffer): ArchiveKind | undefined {
  const hex = head.toString('hex', 0, 6);
  if (hex.startsWith('1f8b') || hex.startsWith('28b52ffd')) return 'packed';
  if (hex.startsWith('fd377a585a00')) return 'xz';
  if (/^425a6[0-9a-f]3[1-9]/u.test(hex)) return 'bzip2';
  if (head.length < ARCHIVE_HEAD_BYTES) return undefined;
  const stated = head.toString('latin1', CHECKSUM_OFFSET, CHECKSUM_OFFSET + CHECKSUM_BYTES).replaceAll(/[\0 ]/gu, '');
  return /^[0-7]+$/u.test(stated) && Number.parseInt(stated, 8) === checksum(head) ? 'tar' : undefined;
}

/** Returns the sum of a header's bytes, with spaces where it states that sum (POSIX, ustar). */
function checksum(head: Buffer): number {
  const sum = head.subarray(0, ARCHIVE_HEAD_BYTES).reduce((total, byte) => total + byte, 0);
  const own = head.subarray(CHECKSUM_OFFSET, CHECKSUM_OFFSET + CHECKSUM_BYTES).reduce((total, byte) => total + byte, 0);
  return sum - own + CHECKSUM_BYTES * 32;
}

/** Reports whether compressed data holds a tar. */
export async function holdsTar(packed: AsyncIterable<Uint8Array>, packedBytes: number): Promise<boolean> {
  const plain = decompress(packed, unpackBound(packedBytes));
  const parts: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of plain) {
      parts.push(chunk);
      bytes += chunk.length;
      if (bytes >= ARCHIVE_HEAD_BYTES) break;
    }
  } catch (error) {
    // A file of these first bytes may be anything.
    if (error instanceof Error && error.name === 'ContreeError') return false;
    throw error;
  }
  return archiveKind(Buffer.concat(parts)) === 'tar';
}

/**
 * Puts what is in a tar (plain, gzip or zstd) below a directory of a layer, every name with its plain meaning. Faults:
 * LAYER_MALFORMED, also for a name that leads out of the directory, and LAYER_LIMIT.
 */
export async function addArchive(
  builder: LayerBuilder,
  { directory, owner, packedBytes }: ArchivePlace,
  archive: AsyncIterable<Uint8Array>,
): Promise<void> {
  const plain = decompress(archive, unpackBound(packedBytes));
  try {
    const reader = new TarReader(plain);
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      const path = below(directory, entry.path);
      const { type } = entry;
      const metadata = { ...entry, ...owner };
      if (type === 'link') await builder.link(path, below(directory, entry.linkpath));
      else if (type === 'file') await builder.add(path, { ...metadata, type, content: reader.content() });
      else if (type === 'symlink') await builder.add(path, { ...metadata, type, target: entry.linkpath });
      else await builder.add(path, { ...metadata, type });
    }
  } finally {
    await plain.return(undefined);
  }
}

function below(directory: ByteString, path: ByteString): ByteString {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..')) throw fault('LAYER_MALFORMED', { reason: 'a path of the archive leads upwards' });
  return [directory, ...names].join('/');
}
