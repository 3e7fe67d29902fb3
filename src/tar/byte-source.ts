import { fault } from '../contract/errors.ts';

const NOTHING = Buffer.alloc(0);

/**
 * Reader of exact numbers of bytes from a stream of chunks. Bytes within one chunk are returned without a copy, so a
 * result is valid as long as the chunks of the stream are.
 */
export class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #format: string;
  #chunk: Buffer = NOTHING;
  #offset = 0;

  /** Creates a source; `format` names the expected format in messages. */
  constructor(stream: AsyncIterable<Uint8Array>, format: string) {
    this.#chunks = stream[Symbol.asyncIterator]();
    this.#format = format;
  }

  /** Returns exactly `bytes` if the current chunk has them; undefined does not imply the end of the stream. */
  takeNow(bytes: number): Buffer | undefined {
    const start = this.#offset;
    if (this.#chunk.length - start < bytes) return undefined;
    this.#offset = start + bytes;
    return this.#chunk.subarray(start, this.#offset);
  }

  /** Returns exactly `bytes`, or undefined at the end of the stream; an end in between is LAYER_MALFORMED. */
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

  /** Returns at least one byte and at most `bytesMax`, or undefined at the end. */
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

  /** Returns exactly `bytes`; the end of the stream is LAYER_MALFORMED. */
  async need(bytes: number): Promise<Buffer> {
    const taken = await this.take(bytes);
    if (taken === undefined) throw this.#cutOff();
    return taken;
  }

  /** Returns at least one byte and at most `bytesMax`; the end of the stream is LAYER_MALFORMED. */
  async needSome(bytesMax: number): Promise<Buffer> {
    const taken = await this.takeSome(bytesMax);
    if (taken === undefined) throw this.#cutOff();
    return taken;
  }

  #cutOff(): Error {
    return fault('LAYER_MALFORMED', { reason: `${this.#format}: the data is truncated` });
  }
}
