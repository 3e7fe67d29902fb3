import type { Duplex } from 'node:stream';
import { createHash } from 'node:crypto';

type Bytes = AsyncIterable<Uint8Array>;

/** Passes chunks on, each after `look` has seen it: to hash, count or measure a stream on its way. */
export async function* observed(source: Bytes, look: (chunk: Uint8Array) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    look(chunk);
    yield chunk;
  }
}

/** Length and sha256 of a stream, taken as it passes `through`; of several, as if they were one. */
export class StreamDigest {
  readonly #hash = createHash('sha256');
  #bytes = 0;

  /** Bytes that have passed so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Passes chunks on, each after it was counted and hashed. */
  async *through(source: Bytes): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      this.#hash.update(chunk);
      this.#bytes += chunk.byteLength;
      yield chunk;
    }
  }

  /** Completes the sha256 and returns it in hex; nothing may pass afterwards. */
  sha256(): string {
    return this.#hash.digest('hex');
  }
}

/** Passes chunks on up to `bytesMax`; throws the error that `excess` makes instead of the chunk that goes beyond. */
export async function* atMost(source: Bytes, bytesMax: number, excess: () => Error): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.byteLength;
    if (bytes > bytesMax) throw excess();
    yield chunk;
  }
}

/** Content by its length and sha256 (hex). */
export interface ContentDigest {
  readonly sha256: string;
  readonly bytes: number;
}

/** Passes on the bytes that a digest names; throws the error that `damaged` makes for others, at the latest at their end. */
export async function* matching(
  source: Bytes,
  { sha256, bytes }: ContentDigest,
  damaged: (reason: string) => Error,
): AsyncGenerator<Uint8Array> {
  const digest = new StreamDigest();
  yield* digest.through(atMost(source, bytes, () => damaged(`there are more than ${bytes} bytes`)));
  if (digest.bytes !== bytes) throw damaged(`there are ${digest.bytes} bytes instead of ${bytes}`);
  const actual = digest.sha256();
  if (actual !== sha256) throw damaged(`their sha256 is ${actual}`);
}

/** Reads a stream to its end and returns its length and sha256 (hex). */
export async function hashStream(source: Bytes): Promise<ContentDigest> {
  const digest = new StreamDigest();
  for await (const _ of digest.through(source));
  return { sha256: digest.sha256(), bytes: digest.bytes };
}

/** Joins small pieces into chunks of at least `bytesMin`, but for the last: each chunk costs its reader a round trip. */
export async function* batched(pieces: Bytes, bytesMin: number): AsyncGenerator<Uint8Array> {
  let batch: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    batch.push(piece);
    bytes += piece.byteLength;
    if (bytes < bytesMin) continue;
    yield Buffer.concat(batch, bytes);
    [batch, bytes] = [[], 0];
  }
  if (bytes > 0) yield Buffer.concat(batch, bytes);
}

/** Start of a stream: at least the bytes asked for unless the stream `ended` before. */
export interface Head {
  readonly bytes: Buffer;
  readonly ended: boolean;
}

/** Reads chunks until there are `bytesMin` or the stream ends; `withHead` puts them back. */
export async function readHead(
  chunks: AsyncIterator<Uint8Array>,
  bytesMin: number,
  signal?: AbortSignal,
): Promise<Head> {
  const read: Uint8Array[] = [];
  let bytes = 0;
  while (bytes < bytesMin) {
    signal?.throwIfAborted();
    const next = await chunks.next();
    if (next.done === true) return { bytes: Buffer.concat(read, bytes), ended: true };
    read.push(next.value);
    bytes += next.value.byteLength;
  }
  return { bytes: Buffer.concat(read, bytes), ended: false };
}

/** Returns the whole stream whose start was read by `readHead`; its end is also the end of `chunks`. */
export async function* withHead(head: Head, chunks: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (head.bytes.length > 0) yield head.bytes;
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value;
  } finally {
    await chunks.return?.();
  }
}

/**
 * Returns the values of `generator`, whose end is also the end of `source`, which it draws from. A generator alone does
 * not see to that: as long as nobody has asked it for a value, its `return` runs nothing of it, no `finally` either, and
 * the resources of the source are never released.
 */
export function endsSource<Value>(
  generator: AsyncGenerator<Value>,
  source: AsyncIterator<unknown>,
): AsyncIterable<Value> {
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => generator.next(),
      return: async () => {
        await generator.return(undefined);
        await source.return?.();
        return { done: true, value: undefined };
      },
    }),
  };
}

/**
 * Passes bytes between two streams in both directions until both are closed. Each direction ends on its own; a stream that closes
 * before both have ended takes the other one with it, `one` by `cut`.
 */
export async function join(one: Duplex, other: Duplex, cut: () => void = () => one.destroy()): Promise<void> {
  const closed = (stream: Duplex, end: () => void): Promise<void> =>
    new Promise((resolve) => {
      const after = (): void => {
        if (!stream.readableEnded || !stream.writableFinished) end();
        resolve();
      };
      // The close that follows an error says it all.
      stream.on('error', () => undefined);
      if (stream.closed) after();
      else stream.once('close', after);
    });
  one.pipe(other);
  other.pipe(one);
  await Promise.all([closed(one, () => other.destroy()), closed(other, cut)]);
}
