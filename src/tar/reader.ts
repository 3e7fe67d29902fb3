import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { Xattrs } from '../erofs/node.ts';
import { assert } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { ByteSource } from './byte-source.ts';
import { checkGlobal, type PaxRecords, parsePax, paxFields } from './pax.ts';
import { isZero, parseHeader, TAR_BLOCK_BYTES, type TarHeader } from './header.ts';

export type TarEntryType = 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

/** One member of an archive, byte for byte as its writer named it: nothing is resolved or cleaned. */
export interface TarEntry {
  readonly type: TarEntryType;
  readonly path: ByteString;
  /** Target of a hard link or symlink, else empty. */
  readonly linkpath: ByteString;
  /** Permission bits with set-uid, set-gid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content; 0 for all but files. */
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: Xattrs;
}

const ENTRY_TYPES: Readonly<Record<string, TarEntryType>> = {
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  // A contiguous file, which everyone treats as a file.
  '7': 'file',
};

const ID_MAX = 0xffff_ffff;
const NO_RECORDS: PaxRecords = new Map();

/**
 * Reads a tar stream member by member: ustar, PAX (global and local), GNU long names and base-256 numbers. Names and
 * xattrs are bytes. Every member must be complete; behind the end mark are only zeros. The mark itself may be missing, as
 * GNU tar and Go's archive/tar have it: some writers of layers leave it out. Sparse members are refused.
 *
 * The stream is hostile; all that is not well-formed is LAYER_MALFORMED, and every header is bounded before it is read.
 */
export class TarReader {
  readonly #source: ByteSource;
  #globals: PaxRecords = NO_RECORDS;
  /** Content and padding of the current member that were not read yet. */
  #contentBytes = 0;
  #paddingBytes = 0;
  #ended = false;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#source = new ByteSource(stream, 'tar');
  }

  /** The next member, or undefined after the last one. Skips what was not read of the one before. */
  async next(): Promise<TarEntry | undefined> {
    if (this.#ended) return undefined;
    await this.#skip();
    const extension = new Map<ByteString, Buffer>();
    for (;;) {
      const header = await this.#header();
      if (header === undefined) {
        if (extension.size > 0) throw malformed('an extended header without an entry');
        return undefined;
      }
      if (!(await this.#extend(extension, header))) return this.#entry(header, extension);
    }
  }

  /** Content of the current member; once, before the next `next`. */
  async *content(): AsyncGenerator<Uint8Array> {
    while (this.#contentBytes > 0) {
      const chunk = await this.#source.needSome(this.#contentBytes);
      this.#contentBytes -= chunk.length;
      yield chunk;
    }
  }

  async #skip(): Promise<void> {
    await this.#source.skip(this.#contentBytes + this.#paddingBytes);
    this.#contentBytes = 0;
    this.#paddingBytes = 0;
  }

  async #header(): Promise<TarHeader | undefined> {
    const block = this.#source.takeNow(TAR_BLOCK_BYTES) ?? (await this.#source.take(TAR_BLOCK_BYTES));
    const header = block && parseHeader(block);
    if (header !== undefined) return header;
    this.#ended = true;
    for (let rest = await this.#source.takeSome(); rest !== undefined; rest = await this.#source.takeSome()) {
      if (!isZero(rest)) throw malformed('there is data behind the end mark');
    }
    return undefined;
  }

  /** Takes a header that describes the next one; false when it is a member itself. */
  async #extend(extension: Map<ByteString, Buffer>, header: TarHeader): Promise<boolean> {
    if (!'xgLK'.includes(header.flag)) return false;
    if (header.size < 0 || header.size > limits.paxHeaderBytesMax) {
      throw fault('LAYER_LIMIT', { what: 'bytes of an extended header', limit: limits.paxHeaderBytesMax });
    }
    const body = await this.#source.need(header.size);
    await this.#source.skip(paddingOf(header.size));
    if (header.flag === 'L' || header.flag === 'K') {
      const zero = body.indexOf(0);
      const key = header.flag === 'L' ? 'path' : 'linkpath';
      extension.set(key, Buffer.from(zero === -1 ? body : body.subarray(0, zero)));
      return true;
    }
    const records = parsePax(Buffer.from(body));
    if (header.flag === 'g') this.#globals = checkTotal(new Map([...this.#globals, ...checkGlobal(records)]));
    else for (const [key, value] of records) extension.set(key, value);
    checkTotal(extension);
    return true;
  }

  #entry(header: TarHeader, extension: PaxRecords): TarEntry {
    const records = this.#globals.size === 0 ? extension : new Map([...this.#globals, ...extension]);
    const fields = paxFields(records, header);
    const path = fields.path ?? header.name;
    const flagged = ENTRY_TYPES[header.flag];
    if (flagged === undefined) throw malformed(`entries of type ${JSON.stringify(header.flag)} are not supported`);
    // Archives from before ustar mark a directory by the slash at its end.
    const type = flagged === 'file' && path.endsWith('/') ? 'directory' : flagged;
    // Sizes of other types are noise of some writers; no content follows them (as in Go's archive/tar).
    const size = type === 'file' ? (fields.size ?? header.size) : 0;
    const uid = fields.uid ?? header.uid;
    const gid = fields.gid ?? header.gid;
    if (size < 0) throw malformed('an entry of negative size');
    if (uid < 0 || uid > ID_MAX || gid < 0 || gid > ID_MAX) throw malformed('a uid or gid outside 32 bits');
    assert(this.#contentBytes === 0, 'the member before was skipped');
    this.#contentBytes = size;
    this.#paddingBytes = paddingOf(size);
    return {
      type,
      path,
      linkpath: type === 'link' || type === 'symlink' ? (fields.linkpath ?? header.linkname) : '',
      mode: header.mode & 0o7777,
      uid,
      gid,
      size,
      mtimeSeconds: fields.mtime?.seconds ?? header.mtimeSeconds,
      mtimeNanoseconds: fields.mtime?.nanoseconds ?? 0,
      major: header.major,
      minor: header.minor,
      xattrs: fields.xattrs,
    };
  }
}

/** Headers add up; what they say together is bounded as one. */
function checkTotal(records: PaxRecords): PaxRecords {
  let bytes = 0;
  for (const [key, value] of records) bytes += key.length + value.length;
  if (bytes <= limits.paxHeaderBytesMax) return records;
  throw fault('LAYER_LIMIT', { what: 'bytes of an extended header', limit: limits.paxHeaderBytesMax });
}

function paddingOf(size: number): number {
  return (TAR_BLOCK_BYTES - (size % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES;
}

function malformed(reason: string): Error {
  return fault('LAYER_MALFORMED', { reason: `tar: ${reason}` });
}
