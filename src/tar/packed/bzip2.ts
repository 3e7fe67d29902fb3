import bitIterator from 'unbzip2-stream/lib/bit_iterator.js';
import bzip2 from 'unbzip2-stream/lib/bzip2.js';
import type { ReadPiece } from './read-piece.ts';

const PIECE_BYTES = 64 * 1024;
/** Bytes of a block per step of its size. */
const BLOCK_BYTES = 100_000;

/**
 * Yields the plain bytes of bzip2 data, of all its streams. Throws for what is damaged, cut off, or followed by something
 * else. Blocks the thread: up to a second for one piece.
 */
export function* unpackBzip2(read: ReadPiece): Generator<Uint8Array> {
  const source = new Source(read);
  const bits = bitIterator(() => source.next());
  while (!source.isAtEnd(bits.bytesRead)) {
    const size = bzip2.header(bits) * BLOCK_BYTES;
    const block = new Int32Array(size);
    for (let checksum: number | null = 0; checksum !== null;) {
      const out = new Pieces();
      checksum = bzip2.decompress(bits, (byte) => out.add(byte), block, size, checksum);
      yield* out.all();
    }
  }
}

/** Input, of which one piece more is known than is being read. */
class Source {
  readonly #read: ReadPiece;
  #following: Uint8Array | undefined;
  #bytes = 0;

  constructor(read: ReadPiece) {
    this.#read = read;
    this.#following = read();
  }

  next(): Uint8Array {
    const piece = this.#following;
    if (piece === undefined) throw new Error('the data ends too early');
    this.#bytes += piece.byteLength;
    this.#following = this.#read();
    return piece;
  }

  isAtEnd(bytesRead: number): boolean {
    return this.#following === undefined && bytesRead >= this.#bytes;
  }
}

/** Bytes that come one by one: a block may be fifty times as long as its size, where bytes repeat. */
class Pieces {
  readonly #full: Buffer[] = [];
  #last = Buffer.alloc(PIECE_BYTES);
  #length = 0;

  add(byte: number): void {
    if (this.#length === PIECE_BYTES) {
      this.#full.push(this.#last);
      this.#last = Buffer.alloc(PIECE_BYTES);
      this.#length = 0;
    }
    this.#last[this.#length] = byte;
    this.#length += 1;
  }

  *all(): Generator<Uint8Array> {
    yield* this.#full;
    if (this.#length > 0) yield this.#last.subarray(0, this.#length);
  }
}
