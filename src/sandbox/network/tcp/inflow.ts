import type { Writable } from 'node:stream';
import { pieceCost } from './cost.ts';

/** Bytes of the guest on their way into a stream that may be slow. */
export class Inflow {
  readonly #stream: Writable;
  readonly #taken: () => void;
  #heldBytes = 0;

  /** `taken` is called when the stream has passed something on. */
  constructor(stream: Writable, taken: () => void) {
    this.#stream = stream;
    this.#taken = taken;
  }

  /** Pieces that wait for the stream, by the memory they take. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  write(payload: Buffer): void {
    const cost = pieceCost(payload.length);
    this.#heldBytes += cost;
    this.#stream.write(alone(payload), () => {
      this.#heldBytes -= cost;
      this.#taken();
    });
  }
}

/** Copies a small part of a large chunk, which would otherwise retain all of the chunk. */
function alone(payload: Buffer): Buffer {
  return payload.length * 2 < payload.buffer.byteLength ? Buffer.from(payload) : payload;
}
