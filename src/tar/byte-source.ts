import { fault } from '../contract/errors.ts';

const NOTHING = Buffer.alloc(0);

/**
 * Takes exact numbers of bytes out of a stream of chunks, in place where a chunk holds them all: what is returned is
 * valid as long as the stream's chunks are.
 */
export class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #format: string;
  #chunk: Buffer = NOTHING;
  #offset = 0;

  /** `format` is what the bytes should be, for messages. */
  constructor(stream: AsyncIterable<Uint8Array>, format: string) {
    this.#chunks = stream[Symbol.asyncIterator]();
    this.#format = format;
  }

  /** Exactly `bytes`, if the current chunk holds them; undefined says nothing about the stream. */
  takeNow(bytes: number): Buffer | undefined {
    const start = this.#offset;
    if (this.#chunk.length - start < bytes) return undefined;
    this.#offset = start + bytes;
    return this.#chunk.subarray(start, this.#offset);
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
      if (part === undefined) throw this.#cutOff();
      taken.set(part, done);
      done += part.length;
    }
    return taken;
  }

  /** At least one byte and at most `bytesMax`, or undefined at the end. */
  async takeSome(bytesMax: number = Infinity): Promise<Buffer | undefined> {
    while (this.#offset === this.#chunk.length) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
      this.#offset = 0;
    }
    return this.takeNow(Math.min(bytesMax, this.#chunk.length - this.#offset));
  }

  async skip(bytes: number): Promise<void> {
    let rest = bytes;
    while (rest > 0) {
      rest -= (await this.needSome(rest)).length;
    }
  }

  /** As `take`, where the end of the stream is LAYER_MALFORMED too. */
  async need(bytes: number): Promise<Buffer> {
    const taken = await this.take(bytes);
    if (taken === undefined) throw this.#cutOff();
    return taken;
  }

  /** As `takeSome`, where the end of the stream is LAYER_MALFORMED. */
  async needSome(bytesMax: number): Promise<Buffer> {
    const taken = await this.takeSome(bytesMax);
    if (taken === undefined) throw this.#cutOff();
    return taken;
  }

  #cutOff(): Error {
    return fault('LAYER_MALFORMED', { reason: `${this.#format}: the data is cut off` });
  }
}
