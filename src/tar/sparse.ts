import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { assert } from '../std/assert.ts';
import type { ByteSource } from './byte-source.ts';
import { numberField, TAR_BLOCK_BYTES } from './header.ts';
import type { PaxRecords } from './pax.ts';

/*
 * Sparse members, as GNU tar writes them ("Sparse Formats" in its manual): of a file with holes, an archive has only the
 * regions with data, and a map of them.
 *
 *   old GNU (type S)   4 pairs at 386 of the header, 482 "more follow", 483 size of the file; blocks of 21 pairs, 504 "more"
 *   PAX 0.0, 0.1       GNU.sparse.size, and the pairs as records GNU.sparse.offset, .numbytes or in GNU.sparse.map
 *   PAX 1.0            GNU.sparse.realsize, and the pairs as decimal lines before the data, in whole blocks
 */

/** Part of a file that an archive has. */
interface Region {
  readonly offset: number;
  readonly bytes: number;
}

/** File with holes. */
export interface SparseFile {
  /** Size of the file with its holes. */
  readonly size: number;
  /** Regions with data, ascending. */
  readonly regions: readonly Region[];
  /** Bytes of the map before the data, of those that the header counts. */
  readonly mapBytes: number;
}

const PAIR_BYTES = 24;
const ZEROS = Buffer.alloc(64 * 1024);

/** Reads the map of a member of type S; the blocks that continue it follow its header. Faults: LAYER_MALFORMED, LAYER_LIMIT. */
export async function readGnuMap(header: Buffer, stored: number, source: ByteSource): Promise<SparseFile> {
  const size = numberField(header, 483, 12, 'size');
  const regions = [...pairsIn(header, 386, 4)];
  let more = header[482] !== 0;
  for (let read = TAR_BLOCK_BYTES; more; read += TAR_BLOCK_BYTES) {
    checkMap(read);
    const block = await source.need(TAR_BLOCK_BYTES);
    regions.push(...pairsIn(block, 0, 21));
    more = block[504] !== 0;
  }
  return checked({ size, regions, mapBytes: 0 }, stored);
}

function* pairsIn(block: Buffer, start: number, count: number): Generator<Region> {
  for (let at = start; at < start + count * PAIR_BYTES; at += PAIR_BYTES) {
    // An unused pair is empty.
    if (block[at] === 0) return;
    yield { offset: numberField(block, at, 12, 'sparse map'), bytes: numberField(block, at + 12, 12, 'sparse map') };
  }
}

/** Reads the map that the records of a member announce; undefined for none. Faults: LAYER_MALFORMED, LAYER_LIMIT. */
export async function readPaxMap(
  records: PaxRecords,
  stored: number,
  source: ByteSource,
): Promise<SparseFile | undefined> {
  const text = (key: string): string | undefined => records.get(`GNU.sparse.${key}`)?.toString('latin1');
  const version = text('major');
  if (version !== undefined) {
    if (version !== '1' || text('minor') !== '0') throw malformed('a version that is not known');
    return checked(await readLines(decimal(text('realsize')), stored, source), stored);
  }
  const size = text('size');
  if (size === undefined) {
    if ([...records.keys()].some((key) => key.startsWith('GNU.sparse.'))) throw malformed('no size');
    return undefined;
  }
  const numbers = (text('map') ?? '').split(',').filter((part) => part !== '');
  return checked(
    { size: decimal(size), regions: regionsOf(numbers.map((part) => decimal(part))), mapBytes: 0 },
    stored,
  );
}

async function readLines(size: number, stored: number, source: ByteSource): Promise<SparseFile> {
  const numbers: number[] = [];
  let mapBytes = 0;
  let line = '';
  while (numbers.length === 0 || numbers.length < 1 + 2 * (numbers[0] ?? 0)) {
    mapBytes += TAR_BLOCK_BYTES;
    checkMap(mapBytes);
    if (mapBytes > stored) throw malformed('a map that is cut off');
    const lines = (line + (await source.need(TAR_BLOCK_BYTES)).toString('latin1')).split('\n');
    line = lines.pop() ?? '';
    for (const text of lines) {
      if (numbers.length > 0 && numbers.length === 1 + 2 * (numbers[0] ?? 0)) break;
      numbers.push(decimal(text));
    }
  }
  return { size, regions: regionsOf(numbers.slice(1)), mapBytes };
}

function regionsOf(numbers: readonly number[]): Region[] {
  if (numbers.length % 2 !== 0) throw malformed('half a region');
  return Array.from({ length: numbers.length / 2 }, (_, index) => ({
    offset: numbers[2 * index] ?? 0,
    bytes: numbers[2 * index + 1] ?? 0,
  }));
}

/** Checks that the regions lie in the file one after the other, and are what the archive has. */
function checked(file: SparseFile, stored: number): SparseFile {
  let end = 0;
  let data = 0;
  for (const { offset, bytes } of file.regions) {
    if (offset < end || bytes < 0) throw malformed('regions that overlap');
    end = offset + bytes;
    data += bytes;
  }
  if (end > file.size) throw malformed('regions outside of the file');
  if (data !== stored - file.mapBytes) throw malformed('other regions than content');
  return file;
}

/** Streams the file, of which `take` returns the next bytes that the archive has, at least one and at most so many. */
export async function* expand(
  { size, regions }: SparseFile,
  take: (bytesMax: number) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const { offset, bytes } of [...regions, { offset: size, bytes: 0 }]) {
    for (; at < offset; at += Math.min(ZEROS.length, offset - at)) yield ZEROS.subarray(0, offset - at);
    for (let left = bytes; left > 0;) {
      const chunk = await take(left);
      assert(chunk.length > 0, 'there is always some');
      yield chunk;
      left -= chunk.length;
      at += chunk.length;
    }
  }
}

/** Parses a decimal number. */
function decimal(text: string | undefined): number {
  const value = Number(text);
  if (text === undefined || !/^[0-9]{1,16}$/u.test(text) || !Number.isSafeInteger(value))
    throw malformed('a wrong number');
  return value;
}

/** Bounds the bytes of a map. */
function checkMap(bytes: number): void {
  if (bytes > limits.paxHeaderBytesMax) {
    throw fault('LAYER_LIMIT', { what: 'bytes of a sparse map', limit: limits.paxHeaderBytesMax });
  }
}

function malformed(reason: string): Error {
  return fault('LAYER_MALFORMED', { reason: `tar: ${reason} in a sparse member` });
}
