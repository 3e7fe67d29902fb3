import { limits } from '../contract/limits.ts';
import { closeSync, fstatSync, readSync, type BigIntStats } from 'node:fs';

const CHUNK_BYTES = 256 * 1024;
/** Files up to this size are read in one step. */
const SMALL_BYTES = limits.bulkFileBytesMax;

/** The descriptor is no regular file (any more). */
export class NotRegular extends Error {
  override readonly name = 'NotRegular';
}

/** A file that is open for reading. */
export class OpenFile implements Disposable {
  readonly #descriptor: number;
  readonly info: BigIntStats;

  /** Takes the descriptor over. Throws NotRegular. */
  constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.info = fstatSync(descriptor, { bigint: true });
    if (this.info.isFile()) return;
    closeSync(descriptor);
    throw new NotRegular('no regular file');
  }

  /**
   * The content as long as the file was when it was opened: a file that grows for ever is not read for ever. Chunks are
   * the receiver's to keep. Other work of the process gets its turn between them.
   */
  async *content(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let position = 0n; position < this.info.size;) {
      signal.throwIfAborted();
      const chunk = this.#read(position);
      if (chunk.byteLength === 0) return;
      yield chunk;
      position += BigInt(chunk.byteLength);
      if (position < this.info.size) await new Promise(setImmediate);
    }
  }

  /** All of a file of at most `SMALL_BYTES`; undefined for a longer one. */
  small(): Uint8Array | undefined {
    return this.info.size > SMALL_BYTES ? undefined : this.#read(0n);
  }

  /** How it begins. */
  head(): Uint8Array {
    return this.#read(0n);
  }

  /** Whether the file is still as it was when it was opened. */
  isUnchanged(): boolean {
    return versionOf(fstatSync(this.#descriptor, { bigint: true })) === versionOf(this.info);
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }

  #read(position: bigint): Uint8Array {
    const left = this.info.size - position;
    const chunk = Buffer.allocUnsafe(left < CHUNK_BYTES ? Number(left) : CHUNK_BYTES);
    let length = 0;
    while (length < chunk.byteLength) {
      const read = readSync(this.#descriptor, chunk, length, chunk.byteLength - length, position + BigInt(length));
      if (read === 0) break;
      length += read;
    }
    return chunk.subarray(0, length);
  }
}

/** Stands for what a file held when this was seen of it, as far as metadata can tell; equal while nobody writes. */
export function versionOf({ size, mtimeNs, ctimeNs, ino, dev }: BigIntStats): string {
  return `${size}:${mtimeNs}:${ctimeNs}:${ino}:${dev}`;
}
