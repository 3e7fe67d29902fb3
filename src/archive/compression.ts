import { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { fault } from '../contract/errors.ts';

const CHUNK_BYTES = 256 * 1024;
const SNIFF_BYTES = 4;
/** zstd: a frame, or a skippable frame (0x184D2A5?) as zstd:chunked layers have. */
const ZSTD_MAGIC = 0xfd2fb528;
const ZSTD_SKIPPABLE = 0x184d2a50;

/**
 * The plain bytes of a gzip, zstd or plain stream, told apart by their first bytes. At most `bytesMax` come out, more is
 * LAYER_LIMIT. Truncation, damage and garbage behind the last member are LAYER_MALFORMED.
 */
export async function* decompress(source: AsyncIterable<Uint8Array>, bytesMax: number): AsyncGenerator<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]();
  try {
    const head = await readHead(chunks);
    const rest = prepend(head, chunks);
    let bytes = 0;
    for await (const chunk of decode(head, rest)) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw fault('LAYER_LIMIT', { what: 'bytes', limit: bytesMax });
      yield chunk;
    }
  } finally {
    await chunks.return?.();
  }
}

async function* decode(head: Buffer, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const decoder = decoderFor(head);
  if (decoder === undefined) {
    yield* source;
    return;
  }
  // The source fails for its own reasons (network, guest); only what the decoder says is about the bytes.
  let sourceFailed: { readonly error: unknown } | undefined;
  const watched = Readable.from(
    (async function* () {
      try {
        yield* source;
      } catch (error) {
        sourceFailed = { error };
        throw error;
      }
    })(),
    { objectMode: true, highWaterMark: 2 },
  );
  watched.on('error', (error) => decoder.destroy(error));
  watched.pipe(decoder);
  try {
    for await (const chunk of decoder) yield chunk as Buffer;
  } catch (error) {
    if (sourceFailed !== undefined) throw sourceFailed.error;
    throw fault('LAYER_MALFORMED', { reason: `compressed data: ${(error as Error).message}` }, { cause: error });
  } finally {
    watched.destroy();
    decoder.destroy();
  }
}

function decoderFor(head: Buffer) {
  if (head.length >= 2 && head.readUInt16BE(0) === 0x1f8b) return createGunzip({ chunkSize: CHUNK_BYTES });
  if (head.length < SNIFF_BYTES) return undefined;
  const magic = head.readUInt32LE(0);
  const zstd = magic === ZSTD_MAGIC || (magic & 0xffff_fff0) >>> 0 === ZSTD_SKIPPABLE;
  return zstd ? createZstdDecompress({ chunkSize: CHUNK_BYTES }) : undefined;
}

async function readHead(chunks: AsyncIterator<Uint8Array>): Promise<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < SNIFF_BYTES) {
    const next = await chunks.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  return head;
}

async function* prepend(head: Buffer, chunks: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (head.length > 0) yield head;
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value;
}
