import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { NO_XATTRS, type Xattrs } from '../erofs/node.ts';
import { isStorable } from '../erofs/xattr.ts';
import type { ByteString } from '../std/bytes.ts';
import type { TarHeader } from './header.ts';

/** Values by keyword; an empty value revokes that of a global header. */
export type PaxRecords = ReadonlyMap<ByteString, Buffer>;

const XATTR = 'SCHILY.xattr.';
/** Records of one region of a sparse member. */
const SPARSE_PAIR = ['GNU.sparse.offset', 'GNU.sparse.numbytes'];
/** Records that are invalid in a global header: the position and name of one entry cannot apply to all. */
const NEVER_GLOBAL = ['path', 'linkpath', 'size'];

/** Parses `"<length> <keyword>=<value>\n"`, repeated, where the length counts the whole record. */
export function parsePax(bytes: Buffer): PaxRecords {
  const records = new Map<ByteString, Buffer>();
  const pairs: Buffer[] = [];
  let position = 0;
  while (position < bytes.length) {
    const space = bytes.indexOf(0x20, position);
    const digits = space === -1 ? '' : bytes.toString('latin1', position, Math.min(space, position + 10));
    if (!/^[1-9][0-9]*$/u.test(digits)) throw malformed('a record without a length');
    const end = position + Number(digits);
    const equals = bytes.indexOf(0x3d, space);
    if (end > bytes.length || equals === -1 || equals >= end || bytes[end - 1] !== 0x0a)
      throw malformed('a cut-off record');
    const key = bytes.toString('latin1', space + 1, equals);
    if (key === '') throw malformed('a record without a keyword');
    const value = bytes.subarray(equals + 1, end - 1);
    if (SPARSE_PAIR.includes(key)) pairs.push(value);
    else records.set(key, value);
    position = end;
  }
  // The first form of sparse members repeats two records; the next one has the same in one record.
  if (pairs.length > 0) records.set('GNU.sparse.map', Buffer.from(pairs.join(), 'latin1'));
  return records;
}

/** Returns the records of a global header. Refuses records that would change the identity of entries. */
export function checkGlobal(records: PaxRecords): PaxRecords {
  for (const key of records.keys()) {
    if (NEVER_GLOBAL.includes(key) || key.startsWith('GNU.sparse.')) throw malformed(`a global ${key}`);
  }
  return records;
}

export interface PaxFields {
  readonly path: ByteString | undefined;
  readonly linkpath: ByteString | undefined;
  readonly size: number | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly mtime: { readonly seconds: number; readonly nanoseconds: number } | undefined;
  readonly xattrs: Xattrs;
  /** True with the overlay's mark of an opaque directory. */
  readonly opaque: boolean;
}

/** Returns the fields that the records define for the entry of `header`. */
export function paxFields(records: PaxRecords, header: TarHeader): PaxFields {
  const size = integer(records, 'size');
  // Readers that disagree about the size see different archives in the same bytes (CVE-2025-62518). A writer needs the
  // record only when the field is too small, and then sets the field to zero.
  if (size !== undefined && header.size !== 0 && header.size !== size)
    throw malformed('two different sizes of one entry');
  return {
    path: text(records, 'GNU.sparse.name') ?? text(records, 'path'),
    linkpath: text(records, 'linkpath'),
    size,
    uid: integer(records, 'uid'),
    gid: integer(records, 'gid'),
    mtime: time(records.get('mtime')),
    xattrs: xattrsOf(records),
    opaque: records.get(`${XATTR}trusted.overlay.opaque`)?.toString('latin1') === 'y',
  };
}

function xattrsOf(records: PaxRecords): Xattrs {
  let xattrs: Map<ByteString, Uint8Array> | undefined;
  let bytes = 0;
  for (const [key, value] of records) {
    if (!key.startsWith(XATTR)) continue;
    const name = key.slice(XATTR.length);
    // The overlay's own marks would change what the guest mounts; a layer expresses the same with whiteouts.
    if (!isStorable(name) || name.startsWith('trusted.overlay.')) continue;
    bytes += name.length + value.length;
    if (name.length > limits.nameBytesMax || bytes > limits.xattrsPerEntryBytesMax || name.includes('\0')) {
      throw fault('LAYER_LIMIT', { what: 'bytes of xattrs per entry', limit: limits.xattrsPerEntryBytesMax });
    }
    xattrs ??= new Map();
    xattrs.set(name, Uint8Array.prototype.slice.call(value));
  }
  return xattrs ?? NO_XATTRS;
}

function text(records: PaxRecords, key: string): ByteString | undefined {
  const value = records.get(key);
  if (value === undefined || value.length === 0) return undefined;
  if (value.includes(0)) throw malformed(`a zero byte in ${key}`);
  return value.toString('latin1');
}

function integer(records: PaxRecords, key: string): number | undefined {
  const value = records.get(key)?.toString('latin1') ?? '';
  if (value === '') return undefined;
  const parsed = Number(value);
  if (!/^[0-9]{1,16}$/u.test(value) || !Number.isSafeInteger(parsed)) throw malformed(`a wrong ${key}`);
  return parsed;
}

/** Parses seconds with an optional fraction; digits beyond nanoseconds are truncated towards the past. */
function time(value: Buffer | undefined): PaxFields['mtime'] {
  if (value === undefined || value.length === 0) return undefined;
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]{0,64}))?$/u.exec(value.toString('latin1'));
  if (match === null) throw malformed('a wrong mtime');
  const [, sign, whole = '', fraction = ''] = match;
  const seconds = Number(whole);
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (sign === '') return { seconds, nanoseconds };
  return nanoseconds === 0
    ? { seconds: -seconds, nanoseconds }
    : { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds };
}

function malformed(reason: string): Error {
  return fault('LAYER_MALFORMED', { reason: `tar: ${reason} in an extended header` });
}
