import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { Xattrs } from '../erofs/node.ts';
import { assert } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { ByteSource } from './byte-source.ts';
import { checkGlobal, type PaxRecords, parsePax, paxFields } from './pax.ts';
import { isZero, parseHeader, TAR_BLOCK_BYTES, type TarHeader } from './header.ts';
import { expand, readGnuMap, readPaxMap, type SparseFile } from './sparse.ts';

export type TarEntryType = 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

/** One member of an archive with its exact name bytes: nothing is resolved or cleaned. */
export interface TarEntry {
  readonly type: TarEntryType;
  readonly path: ByteString;
  /** Target of a hard link or symlink; empty otherwise. */
  readonly linkpath: ByteString;
  /** Permission bits with set-uid, set-gid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content; 0 for anything but files. */
  readonly size: number;
  /** Bytes of content that the archive has, where the file has holes (a sparse member). */
  readonly storedBytes?: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: Xattrs;
  /** True for a directory with the overlay's mark of an opaque one, which `xattrs` leaves out. */
  readonly opaque?: boolean;
}

const ENTRY_TYPES: Readonly<Record<string, TarEntryType>> = {
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  // A contiguous file, which all readers treat as a file.
  '7': 'file',
  // A sparse file of GNU tar.
  S: 'file',
};

const ID_MAX = 0xffff_ffff;
const NO_RECORDS: PaxRecords = new Map();

/**
 * Reader of a tar stream, member by member: ustar, PAX (global and local), GNU long names and base-256 numbers. Names
 * and xattrs are bytes. Every member must be complete; only zeros may follow the end mark. The mark itself may be
 * missing, as in GNU tar and Go's archive/tar, because some writers of layers omit it. Holes of sparse members are zeros. The
 * stream is hostile: anything malformed is LAYER_MALFORMED, and every header is bounded before it is read.
 */
export class TarReader {
  readonly #source: ByteSource;
  #globals: PaxRecords = NO_RECORDS;
  /** Bytes of content and padding of the current member that are still unread. */
  #contentBytes = 0;
  #paddingBytes = 0;
  #sparse: SparseFile | undefined;
  /** Block of the last header. */
  #block: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#source = new ByteSource(stream, 'tar');
  }

  /** Returns the next member, or undefined after the last one. Skips unread content of the previous member. */
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
      if (await this.#extend(extension, header)) continue;
      const records = this.#globals.size === 0 ? extension : new Map([...this.#globals, ...extension]);
      this.#sparse = mayBeSparse(header, records) ? await this.#readMap(header, records) : undefined;
      return this.#entry(header, records);
    }
  }

  /** Streams the content of the current member; at most once, before the next `next`. */
  async *content(): AsyncGenerator<Uint8Array> {
    if (this.#sparse === undefined) {
      while (this.#contentBytes > 0) yield await this.#takeContent(this.#contentBytes);
    } else {
      yield* expand(this.#sparse, (bytesMax) => this.#takeContent(bytesMax));
    }
  }

  async #takeContent(bytesMax: number): Promise<Buffer> {
    const chunk = await this.#source.needSome(bytesMax);
    this.#contentBytes -= chunk.length;
    return chunk;
  }

  async #readMap(header: TarHeader, records: PaxRecords): Promise<SparseFile | undefined> {
    const stored = paxFields(records, header).size ?? header.size;
    if (header.flag === 'S') return readGnuMap(this.#block, stored, this.#source);
    return readPaxMap(records, stored, this.#source);
  }

  async #skip(): Promise<void> {
    await this.#source.skip(this.#contentBytes + this.#paddingBytes);
    this.#contentBytes = 0;
    this.#paddingBytes = 0;
  }

  async #header(): Promise<TarHeader | undefined> {
    const block = this.#source.takeNow(TAR_BLOCK_BYTES) ?? (await this.#source.take(TAR_BLOCK_BYTES));
    const header = block && parseHeader(block);
    if (header !== undefined && block !== undefined) {
      this.#block = block;
      return header;
    }
    this.#ended = true;
    for (let rest = await this.#source.takeSome(); rest !== undefined; rest = await this.#source.takeSome()) {
      if (!isZero(rest)) throw malformed('there is data behind the end mark');
    }
    return undefined;
  }

  /** Processes a header that describes the next member; returns false when it is a member itself. */
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

  #entry(header: TarHeader, records: PaxRecords): TarEntry {
    const fields = paxFields(records, header);
    const path = fields.path ?? header.name;
    const flagged = ENTRY_TYPES[header.flag];
    if (flagged === undefined) throw malformed(`entries of type ${JSON.stringify(header.flag)} are not supported`);
    // Archives older than ustar mark a directory with a trailing slash.
    const type = flagged === 'file' && path.endsWith('/') ? 'directory' : flagged;
    // Some writers put meaningless sizes in other types; no content follows them (as in Go's archive/tar).
    const size = type === 'file' ? (fields.size ?? header.size) : 0;
    const uid = fields.uid ?? header.uid;
    const gid = fields.gid ?? header.gid;
    if (size < 0) throw malformed('an entry of negative size');
    if (uid < 0 || uid > ID_MAX || gid < 0 || gid > ID_MAX) throw malformed('a uid or gid outside 32 bits');
    assert(this.#contentBytes === 0, 'the member before was skipped');
    const sparse = this.#sparse;
    this.#contentBytes = size - (sparse?.mapBytes ?? 0);
    this.#paddingBytes = paddingOf(size);
    return {
      type,
      path,
      ...(sparse && { storedBytes: this.#contentBytes }),
      linkpath: type === 'link' || type === 'symlink' ? (fields.linkpath ?? header.linkname) : '',
      mode: header.mode & 0o7777,
      uid,
      gid,
      size: sparse?.size ?? size,
      mtimeSeconds: fields.mtime?.seconds ?? header.mtimeSeconds,
      mtimeNanoseconds: fields.mtime?.nanoseconds ?? 0,
      major: header.major,
      minor: header.minor,
      xattrs: fields.xattrs,
      opaque: type === 'directory' && fields.opaque,
    };
  }
}

/** Reports whether a member is a file, and a header says that it has holes. */
function mayBeSparse({ flag }: TarHeader, records: PaxRecords): boolean {
  if (flag === 'S') return true;
  return ENTRY_TYPES[flag] === 'file' && [...records.keys()].some((key) => key.startsWith('GNU.sparse.'));
}

/** Bounds the total size of extended headers. */
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
