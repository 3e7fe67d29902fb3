import type { ByteString } from '../std/bytes.ts';
import { textOf } from '../std/bytes.ts';
import { TAR_BLOCK_BYTES } from './header.ts';
import type { TarEntry, TarEntryType } from './reader.ts';
import { NO_XATTRS } from '../erofs/node.ts';

const FLAGS: Readonly<Record<TarEntryType, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** End mark of an archive. */
export const TAR_END: Uint8Array = new Uint8Array(2 * TAR_BLOCK_BYTES);

/**
 * Returns the header of one member in POSIX.1-2001 (PAX) form: ustar, preceded by an extended header where ustar cannot
 * represent it (long or non-ASCII names, large numbers, fractions of a second, xattrs). Equal entries give equal bytes.
 * An xattr whose name contains `=` cannot be represented in PAX and is omitted.
 */
export function encodeHeader(entry: TarEntry): Buffer {
  const records = paxRecords(entry);
  const header = ustarHeader(entry, FLAGS[entry.type], entry.path);
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  const name = `PaxHeaders.0/${entry.path.replace(/\/$/u, '').split('/').pop() ?? ''}`;
  const plain = {
    ...entry,
    size: body.length,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeSeconds: 0,
    major: 0,
    minor: 0,
    linkpath: '',
  };
  return Buffer.concat([ustarHeader(plain, 'x', name), body, contentPadding(body.length), header]);
}

/** Returns the header of a plain file of root without a time, for archives that only carry content. */
export function encodeFileHeader(path: ByteString, size: number): Buffer {
  return encodeHeader({
    type: 'file',
    path,
    linkpath: '',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    major: 0,
    minor: 0,
    xattrs: NO_XATTRS,
  });
}

/** Returns the zeros that fill the last block of content. */
export function contentPadding(size: number): Uint8Array {
  return TAR_END.subarray(0, (TAR_BLOCK_BYTES - (size % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES);
}

function paxRecords(entry: TarEntry): Buffer[] {
  const { path, linkpath, uid, gid, size, mtimeSeconds, mtimeNanoseconds, xattrs } = entry;
  const records: Buffer[] = [];
  const add = (key: string, value: string | Uint8Array) => records.push(paxRecord(key, value));
  // Makes readers that would otherwise expect UTF-8 use the raw bytes (POSIX pax, hdrcharset).
  if (textOf(path) === undefined || textOf(linkpath) === undefined) add('hdrcharset', 'BINARY');
  if (!fitsName(path)) add('path', path);
  if (!fitsName(linkpath)) add('linkpath', linkpath);
  if (!fitsOctal(size, 11)) add('size', `${size}`);
  if (!fitsOctal(uid, 7)) add('uid', `${uid}`);
  if (!fitsOctal(gid, 7)) add('gid', `${gid}`);
  if (mtimeNanoseconds !== 0 || !fitsOctal(mtimeSeconds, 11)) add('mtime', paxTime(mtimeSeconds, mtimeNanoseconds));
  for (const name of [...xattrs.keys()].sort()) {
    if (!name.includes('=')) add(`SCHILY.xattr.${name}`, xattrs.get(name) ?? '');
  }
  return records;
}

/** Returns `"<length> <keyword>=<value>\n"`, where the length counts its own digits too. */
function paxRecord(key: ByteString, value: ByteString | Uint8Array): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  const rest = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), bytes, Buffer.from('\n')]);
  let length = rest.length + `${rest.length}`.length;
  if (`${length}`.length > `${rest.length}`.length) length = rest.length + `${length}`.length;
  return Buffer.concat([Buffer.from(`${length}`), rest]);
}

function paxTime(seconds: number, nanoseconds: number): string {
  if (nanoseconds === 0) return `${seconds}`;
  // The fraction counts away from zero: −1.75 s is second −2 plus 0.25.
  const negative = seconds < 0;
  const whole = negative ? -(seconds + 1) : seconds;
  const fraction = negative ? 1e9 - nanoseconds : nanoseconds;
  return `${negative ? '-' : ''}${whole}.${`${fraction}`.padStart(9, '0').replace(/0+$/u, '')}`;
}

function ustarHeader(entry: TarEntry, flag: string, name: ByteString): Buffer {
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  const device = entry.type === 'character' || entry.type === 'block';
  block.write(name.slice(0, 100), 0, 'latin1');
  // A truncated name must not end in a slash, which would make it a directory.
  if (name.length > 100 && block[99] === 0x2f && flag !== '5') block[99] = 0x5f;
  writeOctal(block, 100, 7, entry.mode);
  writeOctal(block, 108, 7, entry.uid);
  writeOctal(block, 116, 7, entry.gid);
  writeOctal(block, 124, 11, entry.size);
  writeOctal(block, 136, 11, entry.mtimeSeconds);
  block.write('        ', 148, 'latin1');
  block.write(flag, 156, 'latin1');
  block.write(entry.linkpath.slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  writeOctal(block, 329, 7, device ? entry.major : 0);
  writeOctal(block, 337, 7, device ? entry.minor : 0);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** Writes an octal field. A value that does not fit is in the extended header; the field is then zero. */
function writeOctal(block: Buffer, at: number, digits: number, value: number): void {
  block.write((fitsOctal(value, digits) ? value : 0).toString(8).padStart(digits, '0'), at, 'latin1');
}

function fitsOctal(value: number, digits: number): boolean {
  return value >= 0 && value < 8 ** digits;
}

function fitsName(name: ByteString): boolean {
  return name.length <= 100 && /^[\x20-\x7e]*$/u.test(name);
}
