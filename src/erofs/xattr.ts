import { defined } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { damaged } from './damage.ts';
import type { Xattrs } from './node.ts';

/*
 * Inline xattr area, directly behind the inode:
 *
 *   [name filter u32 = 0][shared count u8 = 0][reserved 7]   header, 12 bytes
 *   [name length u8][prefix u8][value size u16][name][value] entry, padded to 4; repeated
 *
 * Layers have no shared xattrs: on real images they save nothing worth a second place to look.
 */

const HEADER_BYTES = 12;
const ENTRY_BYTES = 4;

/** Prefixes that EROFS can store, with their index. The ACL prefixes are the whole name. */
const PREFIXES: readonly (readonly [prefix: string, index: number])[] = [
  ['user.', 1],
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['trusted.', 4],
  ['security.', 6],
];

/**
 * Reports whether EROFS can store this xattr; others (`com.apple.…`, `btrfs.…`) do not exist on a Linux root file
 * system.
 */
export function isStorable(name: ByteString): boolean {
  return split(name) !== undefined;
}

/** Returns the bytes of the area for these xattrs, a multiple of 4; 0 for none. */
export function xattrAreaBytes(xattrs: Xattrs): number {
  if (xattrs.size === 0) return 0;
  let bytes = HEADER_BYTES;
  for (const [name, value] of xattrs) bytes += entryBytes(storable(name)[1].length, value.length);
  return bytes;
}

/** Writes the area at `at`; names in byte order, so that equal sets give equal bytes. The target is zeroed. */
export function encodeXattrs(target: Buffer, at: number, xattrs: Xattrs): void {
  let position = at + HEADER_BYTES;
  for (const name of [...xattrs.keys()].sort()) {
    const value = xattrs.get(name) ?? new Uint8Array();
    const [index, rest] = storable(name);
    target.writeUInt8(rest.length, position);
    target.writeUInt8(index, position + 1);
    target.writeUInt16LE(value.length, position + 2);
    target.write(rest, position + ENTRY_BYTES, 'latin1');
    target.set(value, position + ENTRY_BYTES + rest.length);
    position += entryBytes(rest.length, value.length);
  }
}

/** Parses an area; values are copies. */
export function decodeXattrs(area: Buffer): Xattrs {
  const xattrs = new Map<ByteString, Uint8Array>();
  if (area.length === 0) return xattrs;
  if (area.length < HEADER_BYTES || area.readUInt8(4) !== 0) throw damaged('shared xattrs');
  let position = HEADER_BYTES;
  while (position < area.length) {
    if (position + ENTRY_BYTES > area.length) throw damaged('an xattr is cut off');
    const nameBytes = area.readUInt8(position);
    const prefix = prefixOf(area.readUInt8(position + 1));
    const valueBytes = area.readUInt16LE(position + 2);
    const value = position + ENTRY_BYTES + nameBytes;
    if (value + valueBytes > area.length) throw damaged('an xattr is cut off');
    xattrs.set(
      prefix + area.toString('latin1', position + ENTRY_BYTES, value),
      Uint8Array.prototype.slice.call(area, value, value + valueBytes),
    );
    position += entryBytes(nameBytes, valueBytes);
  }
  return xattrs;
}

function entryBytes(nameBytes: number, valueBytes: number): number {
  return Math.ceil((ENTRY_BYTES + nameBytes + valueBytes) / 4) * 4;
}

function split(name: ByteString): readonly [index: number, rest: ByteString] | undefined {
  for (const [prefix, index] of PREFIXES) {
    const whole = !prefix.endsWith('.');
    if (whole ? name === prefix : name.startsWith(prefix) && name.length > prefix.length) {
      return [index, name.slice(prefix.length)];
    }
  }
  return undefined;
}

function storable(name: ByteString): readonly [index: number, rest: ByteString] {
  return defined(split(name), 'only storable xattrs get here');
}

function prefixOf(index: number): string {
  const found = PREFIXES.find(([, known]) => known === index);
  if (found === undefined) throw damaged(`xattr prefix ${index}`);
  return found[0];
}
