import { limits } from '../contract/limits.ts';
import { closeSync, fstatSync, readSync, type BigIntStats } from 'node:fs';

const CHUNK_BYTES = 256 * 1024;
/** Files up to this size are read in one step. */
const SMALL_BYTES = limits.bulkFileBytesMax;

/** Error for a descriptor that is not (or no longer) a regular file. */
export class NotRegular extends Error {
  override readonly name = 'NotRegular';
}

/** File open for reading. */
export class OpenFile implements Disposable {
  readonly #descriptor: number;
  readonly info: BigIntStats;

  /** Takes ownership of the descriptor. Throws NotRegular. */
  constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.info = fstatSync(descriptor, { bigint: true });
    if (this.info.isFile()) return;
    closeSync(descriptor);
    throw new NotRegular('no regular file');
  }

  /**
   * Streams the content up to the size at opening, so that a file that keeps growing is not read forever. The receiver
   * owns the chunks. Other work of the process runs between them.
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

  /** Returns the whole content of a file of at most `SMALL_BYTES`; undefined for a larger one. */
  small(): Uint8Array | undefined {
    return this.info.size > SMALL_BYTES ? undefined : this.#read(0n);
  }

  /** Returns the start of the file. */
  head(): Uint8Array {
    return this.#read(0n);
  }

  /** Reports whether the file is unchanged since it was opened. */
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

/** Returns a version of the file's content from its metadata; equal as long as the file is not written. */
export function versionOf({ size, mtimeNs, ctimeNs, ino, dev }: BigIntStats): string {
  return `${size}:${mtimeNs}:${ctimeNs}:${ino}:${dev}`;
}
