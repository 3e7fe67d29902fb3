import { pieceCost } from './cost.ts';

/** Bytes on their way to the guest: those sent and not yet acknowledged first, then those not yet sent. */
export class SendQueue {
  #chunks: Buffer[] = [];
  #bytes = 0;
  #heldBytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** The same by the memory that it takes. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.#heldBytes += pieceCost(chunk.length);
  }

  /** Drops the first `bytes`, which the guest has received. */
  drop(bytes: number): void {
    this.#bytes -= bytes;
    let left = bytes;
    let whole = 0;
    for (const chunk of this.#chunks) {
      if (chunk.length > left) break;
      left -= chunk.length;
      whole += 1;
      this.#heldBytes -= pieceCost(chunk.length);
    }
    if (whole > 0) this.#chunks = this.#chunks.slice(whole);
    const [first] = this.#chunks;
    if (left === 0 || first === undefined) return;
    this.#chunks[0] = first.subarray(left);
    this.#heldBytes += pieceCost(first.length - left) - pieceCost(first.length);
  }

  /** Up to `bytes` from `offset` on: fewer where a chunk ends, because copying costs more than a shorter segment. */
  peek(offset: number, bytes: number): Buffer {
    let at = offset;
    for (const chunk of this.#chunks) {
      if (at < chunk.length) return chunk.subarray(at, at + bytes);
      at -= chunk.length;
    }
    return Buffer.alloc(0);
  }
}
