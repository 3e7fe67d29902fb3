/** Bytes on their way to the guest: those sent and not yet acknowledged first, then those not yet sent. */
export class SendQueue {
  #chunks: Buffer[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  /** Forgets the first `bytes`: the guest has them. */
  drop(bytes: number): void {
    this.#bytes -= bytes;
    let left = bytes;
    let whole = 0;
    for (const chunk of this.#chunks) {
      if (chunk.length > left) break;
      left -= chunk.length;
      whole += 1;
    }
    if (whole > 0) this.#chunks = this.#chunks.slice(whole);
    const [first] = this.#chunks;
    if (left > 0 && first !== undefined) this.#chunks[0] = first.subarray(left);
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
