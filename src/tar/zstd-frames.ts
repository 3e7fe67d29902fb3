import { fault } from '../contract/errors.ts';
import { ByteSource } from './byte-source.ts';
import { batched } from '../std/streams.ts';

/*
 * A zstd stream is a sequence of frames (RFC 8878 §3.1). What is needed here is only where each ends:
 *
 *   [magic u32][descriptor u8][window 0–1][dictionary id 0–4][content size 0–8]  frame header
 *   [last 1 bit │ type 2 │ size 21][content]                                     blocks, until the last
 *   [checksum u32]                                                               if the descriptor says so
 *
 * or [0x184D2A50 … 5F][size u32][anything] to be skipped.
 */

export const ZSTD_MAGIC = 0xfd2fb528;
const BATCH_BYTES = 256 * 1024;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

export function isSkippable(magic: number): boolean {
  return (magic & 0xffff_fff0) >>> 0 === 0x184d2a50;
}

/**
 * Yields the frames of a zstd stream, without skippable ones, in chunks that never span two frames. Node's decoder
 * needs that: it treats the end of a frame inside a chunk as the end of the stream and drops the rest (zstd:chunked
 * layers have thousands of frames). Faults: LAYER_MALFORMED for an invalid or truncated frame.
 */
export async function* zstdFrames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = new ByteSource(stream, 'zstd');
  for (let magic = await source.take(4); magic !== undefined; magic = await source.take(4)) {
    const kind = magic.readUInt32LE(0);
    if (kind === ZSTD_MAGIC) {
      yield* batched(frame(source, magic), BATCH_BYTES);
    } else {
      if (!isSkippable(kind)) throw malformed('something that is not a frame follows');
      await source.skip((await source.need(4)).readUInt32LE(0));
    }
  }
}

/** Yields the pieces of one frame. */
async function* frame(source: ByteSource, magic: Uint8Array): AsyncGenerator<Uint8Array> {
  yield magic;
  const head = await source.need(1);
  yield head;
  const descriptor = head.readUInt8(0);
  const single = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contentSizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  yield await source.need((single ? 0 : 1) + dictionaryBytes + contentSizeBytes);
  for (let last = false; !last;) {
    const header = await source.need(3);
    const fields = header.readUIntLE(0, 3);
    yield header;
    last = (fields & 1) === 1;
    const type = (fields >> 1) & 3;
    if (type === BLOCK_RESERVED) throw malformed('a block of a reserved type');
    for (let rest = type === BLOCK_RLE ? 1 : fields >> 3; rest > 0;) {
      const piece = await source.needSome(rest);
      rest -= piece.length;
      yield piece;
    }
  }
  if ((descriptor & 4) !== 0) yield await source.need(4);
}

function malformed(reason: string): Error {
  return fault('LAYER_MALFORMED', { reason: `zstd: ${reason}` });
}
