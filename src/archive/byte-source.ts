import { fault } from '../contract/errors.ts';

const NOTHING = Buffer.alloc(0);

/**
 * Takes exact numbers of bytes out of a stream of chunks, in place where a chunk holds them all. What is returned is
 * valid until the next call.
 */
export class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #chunk: Buffer = NOTHING;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** Exactly `bytes`, if the current chunk holds them; undefined says nothing about the stream. */
  takeNow(bytes: number): Buffer | undefined {
    if (this.#chunk.length < bytes) return undefined;
    const taken = this.#chunk.subarray(0, bytes);
    this.#chunk = this.#chunk.subarray(bytes);
    return taken;
  }

  /** Exactly `bytes`, or undefined at the end of the stream; an end in between is LAYER_MALFORMED. */
  async take(bytes: number): Promise<Buffer | undefined> {
    const now = this.takeNow(bytes);
    if (now !== undefined) return now;
    const taken = Buffer.allocUnsafe(bytes);
    let done = 0;
    while (done < bytes) {
      const part = await this.takeSome(bytes - done);
      if (part === undefined && done === 0) return undefined;
      if (part === undefined) throw fault('LAYER_MALFORMED', { reason: 'tar: the archive is cut off' });
      taken.set(part, done);
      done += part.length;
    }
    return taken;
  }

  /** At least one byte and at most `bytesMax`, or undefined at the end. */
  async takeSome(bytesMax: number = Infinity): Promise<Buffer | undefined> {
    while (this.#chunk.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    }
    return this.takeNow(Math.min(bytesMax, this.#chunk.length));
  }

  async skip(bytes: number): Promise<void> {
    let rest = bytes;
    while (rest > 0) {
      const part = await this.takeSome(rest);
      if (part === undefined) throw fault('LAYER_MALFORMED', { reason: 'tar: the archive is cut off' });
      rest -= part.length;
    }
  }

  /** Tells the stream that nobody reads on. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
