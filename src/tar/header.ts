import { fault } from '../contract/errors.ts';
import type { ByteString } from '../std/bytes.ts';

/*
 * One tar header (POSIX.1-1988 ustar; the GNU and star variants share the first 257 bytes):
 *
 *     0 name 100 │ 100 mode 8 │ 108 uid 8 │ 116 gid 8 │ 124 size 12 │ 136 mtime 12 │ 148 checksum 8
 *   156 type 1 │ 157 link name 100 │ 257 magic 6 │ 263 version 2 │ 265 owner 32 │ 297 group 32
 *   329 major 8 │ 337 minor 8 │ 345 prefix 155 (only ustar: "ustar\0") │ 508 "tar\0" (star: prefix ends at 476)
 */

export const TAR_BLOCK_BYTES = 512;

export interface TarHeader {
  /** Type flag as a character; the zero byte of old archives becomes `0`. */
  readonly flag: string;
  readonly name: ByteString;
  readonly linkname: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly major: number;
  readonly minor: number;
}

/** Parses a header block; returns undefined for a block of zeros. Faults: LAYER_MALFORMED. */
export function parseHeader(block: Buffer): TarHeader | undefined {
  if (block[0] === 0 && isZero(block)) return undefined;
  if (!checksumMatches(block)) throw malformed('a header has a wrong checksum');
  const flag = block[156] === 0 ? '0' : String.fromCharCode(block[156] ?? 0);
  const device = flag === '3' || flag === '4';
  return {
    flag,
    name: nameOf(block),
    linkname: text(block, 157, 100),
    mode: numberField(block, 100, 8, 'mode'),
    uid: numberField(block, 108, 8, 'uid'),
    gid: numberField(block, 116, 8, 'gid'),
    size: numberField(block, 124, 12, 'size'),
    mtimeSeconds: numberField(block, 136, 12, 'mtime'),
    major: device ? numberField(block, 329, 8, 'device number') : 0,
    minor: device ? numberField(block, 337, 8, 'device number') : 0,
  };
}

export function isZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

function nameOf(block: Buffer): ByteString {
  const name = text(block, 0, 100);
  // GNU ("ustar  \0") keeps times where ustar has the prefix.
  if (block.toString('latin1', 257, 263) !== 'ustar\0') return name;
  const star = block.toString('latin1', 508, 512) === 'tar\0';
  const prefix = text(block, 345, star ? 131 : 155);
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Returns a field up to its first zero byte. */
function text(block: Buffer, start: number, bytes: number): ByteString {
  const zero = block.indexOf(0, start);
  return block.toString('latin1', start, zero === -1 ? start + bytes : Math.min(zero, start + bytes));
}

/** Parses octal digits between spaces and zero bytes, or base-256 (first bit set, two's complement). */
export function numberField(block: Buffer, start: number, bytes: number, what: string): number {
  const first = block[start] ?? 0;
  if ((first & 0x80) !== 0) return base256(block.subarray(start, start + bytes), what);
  const end = start + bytes;
  let at = start;
  while (at < end && isFiller(block[at])) at++;
  let value = 0;
  for (; at < end && !isFiller(block[at]); at++) {
    const digit = (block[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) throw malformed(`a header has an invalid ${what}`);
    value = value * 8 + digit;
  }
  return value;
}

function isFiller(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0;
}

function base256(field: Buffer, what: string): number {
  const negative = (field.readUInt8(0) & 0x40) !== 0;
  let value = negative ? -1n : 0n;
  value = (value << 6n) | BigInt(field.readUInt8(0) & 0x3f);
  for (let index = 1; index < field.length; index++) value = (value << 8n) | BigInt(field.readUInt8(index));
  if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER)
    throw malformed(`a header has an invalid ${what}`);
  return Number(value);
}

/**
 * Verifies the checksum: the sum of all bytes with the field itself as spaces; some old writers summed signed bytes.
 */
function checksumMatches(block: Buffer): boolean {
  const stored = numberField(block, 148, 8, 'checksum');
  let unsigned = 0;
  let signed = 0;
  for (let index = 0; index < TAR_BLOCK_BYTES; index++) {
    const byte = index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
    unsigned += byte;
    signed += byte < 0x80 ? byte : byte - 0x100;
  }
  return stored === unsigned || stored === signed;
}

function malformed(reason: string): Error {
  return fault('LAYER_MALFORMED', { reason: `tar: ${reason}` });
}
