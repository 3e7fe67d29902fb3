import type { Transform } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { isSkippable, ZSTD_MAGIC, zstdFrames } from './zstd-frames.ts';
import { readHead, withHead } from '../std/streams.ts';

const CHUNK_BYTES = 128 * 1024;
const SNIFF_BYTES = 4;

/** Bound of the bytes that compressed data may unpack to, and its name in the fault. */
export interface UnpackBound {
  readonly limit: number;
  readonly what: string;
}

/** Returns the bound for data of this compressed length: a decompression bomb is recognized by its ratio. */
export function unpackBound(packedBytes: number): UnpackBound {
  const { unpackedPerPackedMax: times, unpackedBytesFree, layerFileBytesMax } = limits;
  const limit = Math.max(unpackedBytesFree, packedBytes * times);
  if (limit >= layerFileBytesMax) return { limit: layerFileBytesMax, what: 'bytes' };
  return { limit, what: `unpacked bytes for ${packedBytes} compressed bytes (at most ${times} times as many)` };
}

/**
 * Yields the plain bytes of a gzip, zstd or plain stream; the format is detected from the first bytes. More than
 * `bound` is LAYER_LIMIT. Truncation, damage and garbage after the last member are LAYER_MALFORMED. The source is read
 * to its end even if the compressed data ends earlier, because sources verify their digest at the end.
 */
export async function* decompress(source: AsyncIterable<Uint8Array>, bound: UnpackBound): AsyncGenerator<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]();
  try {
    const head = await readHead(chunks, SNIFF_BYTES);
    let bytes = 0;
    for await (const chunk of decode(head.bytes, withHead(head, chunks))) {
      bytes += chunk.length;
      if (bytes > bound.limit) throw fault('LAYER_LIMIT', { ...bound });
      yield chunk;
    }
  } finally {
    await chunks.return?.();
  }
}

function decode(head: Buffer, source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  if (head.length >= 2 && head.readUInt16BE(0) === 0x1f8b)
    return through(createGunzip({ chunkSize: CHUNK_BYTES }), source);
  const magic = head.length < SNIFF_BYTES ? 0 : head.readUInt32LE(0);
  if (magic !== ZSTD_MAGIC && !isSkippable(magic)) return source;
  return through(createZstdDecompress({ chunkSize: CHUNK_BYTES }), zstdFrames(source));
}

async function* through(decoder: Transform, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  // The source fails for its own reasons (network, guest); only errors of the decoder are about the bytes.
  let sourceFailure: Error | undefined;
  const feeding = feed(decoder, source).catch((error: unknown) => {
    sourceFailure = error instanceof Error ? error : new Error(String(error));
    decoder.destroy(sourceFailure);
  });
  try {
    for await (const chunk of decoder) yield chunk as Buffer;
  } catch (error) {
    if (sourceFailure !== undefined) throw sourceFailure;
    throw fault('LAYER_MALFORMED', { reason: `compressed data: ${(error as Error).message}` }, { cause: error });
  } finally {
    decoder.destroy();
    await feeding;
  }
  if (sourceFailure !== undefined) throw sourceFailure;
}

/** Writes the source into the decoder; zeros after the end of the compressed data are read and dropped. */
async function feed(decoder: Transform, source: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of source) {
    if (decoder.readableEnded) continue;
    if (decoder.destroyed) return;
    if (!decoder.write(chunk)) await oneOf(decoder, ['drain', 'end', 'close']);
  }
  if (!decoder.destroyed) decoder.end();
}

function oneOf(decoder: Transform, events: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      for (const event of events) decoder.off(event, settle);
      resolve();
    };
    for (const event of events) decoder.on(event, settle);
  });
}
