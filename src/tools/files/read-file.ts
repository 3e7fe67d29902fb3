import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import type { FileContent } from '../../contract/inspect.ts';
import { collect, utf8Length } from '../../std/bytes.ts';
import { count, hint, image, imagePath, imageUuid, pageSize } from '../support/fields.ts';
import { isBinary } from '../support/output.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { grouped, lines, plainName } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';
import { present } from '../../std/present.ts';

/** Bytes shown of a binary file: base64 adds a third, and a model can use no more. */
const BINARY_BYTES_MAX = 2_048;

export const readFile = defineTool({
  name: 'read_file',
  title: 'Read a file',
  description:
    'Free and instant; use it instead of run("cat"). Page with offset and limit (bytes) or start_line and max_lines. To ' +
    'search use grep; for binary files download.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  input: z.object({
    image,
    path: imagePath,
    offset: z.int().min(0).max(limits.layerFileBytesMax).default(0),
    limit: pageSize(limits.toolReadBytesDefault).default(limits.toolReadBytesDefault),
    start_line: z.int().min(1).max(1_000_000_000).optional(),
    max_lines: pageSize(100_000).optional(),
  }),
  output: z.object({
    content: z.string(),
    encoding: z.enum(['base64']).optional(),
    /** Size of the whole file; absent when all of it is shown. */
    size: hiddenFromClients(count.optional()),
    offset: hiddenFromClients(count.optional()),
    next_offset: hiddenFromClients(count.optional()),
    next_line: hiddenFromClients(count.optional()),
    image_uuid: imageUuid,
    hint,
  }),
  handle: async ({ contree, signal }, { image, path, offset, limit, start_line, max_lines }) => {
    // A tag may move between two calls: resolve it once.
    const { uuid } = await contree.images.get(image, signal);
    const byLine = start_line !== undefined || max_lines !== undefined;
    const range = byLine ? undefined : { offset, length: limit };
    const content = await contree.files.read(uuid, { path, ...range }, signal);
    const part = byLine
      ? await readLines(content, { start: start_line ?? 1, count: max_lines ?? Infinity, bytesMax: limit })
      : { bytes: await collect(content.body, limit), offset };
    const { text, encoding, used } = asText(part.bytes, part.offset, content.size);
    const end = part.offset + used;
    const more = end < content.size;
    return {
      content: text,
      ...(encoding === 'base64' && { encoding }),
      ...((more || part.offset > 0 || encoding === 'base64') && { size: content.size, offset: part.offset }),
      ...(more && { next_offset: end }),
      ...present({ next_line: more && 'nextLine' in part ? part.nextLine : undefined }),
      ...(image !== uuid && { image_uuid: uuid }),
      ...(encoding === 'base64' && {
        hint: `download(image="${uuid}", path=${JSON.stringify(path)}, destination="…") saves the whole file.`,
      }),
    };
  },
  text: ({ content, encoding, size = Buffer.byteLength(content), offset = 0, next_offset, hint }, { path }) =>
    lines(
      `${plainName(path)}: ${grouped(size)} bytes${encoding === 'base64' ? ', base64' : ''}` +
        rangeText(offset, next_offset, size),
      content,
      hint && `Next: ${hint}`,
    ),
});

function rangeText(offset: number, next: number | undefined, size: number): string {
  if (offset > size) return `, none from ${grouped(offset)} on`;
  return offset === 0 && next === undefined ? '' : `, from ${grouped(offset)} to ${grouped(next ?? size)}`;
}

interface Part {
  readonly bytes: Buffer;
  readonly offset: number;
  /** Line after the last complete one. */
  readonly nextLine?: number;
}

/**
 * Reads whole lines of a file from `start` on, as far as they fit into `bytesMax`, and returns the byte offset at which
 * they begin.
 */
async function readLines(
  { body }: FileContent,
  { start, count, bytesMax }: { start: number; count: number; bytesMax: number },
): Promise<Part> {
  const kept: Buffer[] = [];
  let line = 1;
  let begin = 0;
  let bytes = 0;
  for await (const piece of pieces(body)) {
    if (line < start) {
      begin += piece.length;
    } else {
      const part = piece.subarray(0, bytesMax - bytes);
      kept.push(part);
      bytes += part.length;
      if (part.length < piece.length) break;
    }
    if (piece.at(-1) === 0x0a) line += 1;
    if (line >= start + count) break;
  }
  return { bytes: Buffer.concat(kept), offset: begin, nextLine: line };
}

/** Splits the content after every line feed; a long line is yielded in several pieces. */
async function* pieces(body: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of body) {
    const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let at = 0; at < buffer.length;) {
      const newline = buffer.indexOf(0x0a, at);
      const next = newline < 0 ? buffer.length : newline + 1;
      yield buffer.subarray(at, next);
      at = next;
    }
  }
}

/** Returns bytes as text without a partial character, or as base64; `used` is the number of bytes shown. */
function asText(
  bytes: Buffer,
  offset: number,
  size: number,
): { text: string; encoding: 'utf-8' | 'base64'; used: number } {
  if (isBinary(bytes)) {
    const shown = bytes.subarray(0, BINARY_BYTES_MAX);
    return { text: shown.toString('base64'), encoding: 'base64', used: shown.length };
  }
  const whole = offset + bytes.length >= size ? bytes : bytes.subarray(0, wholeCharacters(bytes));
  return { text: whole.toString('utf8'), encoding: 'utf-8', used: whole.length };
}

/** Returns the length of the longest prefix that does not end inside a UTF-8 character. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return bytes.length;
    if (byte >= 0xc0) return back < utf8Length(byte) ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
