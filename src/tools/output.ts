import { limits, SPID_MAIN, streamBytes, type ConTree } from '../contract/index.ts';
import { grouped } from './text.ts';

export type StreamName = 'stdout' | 'stderr';

/** A stretch of output as text, and what was left out of it. */
export interface Shown {
  readonly text: string;
  readonly truncated: boolean;
}

/**
 * Output for a model: whole when it fits into `bytesMax`, otherwise the first quarter and the last three quarters of
 * that (errors stand at the end), cut at line ends. `rest` says how to get what is missing.
 */
export function showOutput(bytes: Buffer, bytesMax: number, totalBytes: number, rest: string): Shown {
  if (isBinary(bytes)) {
    const text = bytes.length === 0 ? '' : `[${grouped(totalBytes)} bytes of binary output; ${rest}]`;
    return { text, truncated: bytes.length > 0 };
  }
  if (bytes.length <= bytesMax) {
    if (totalBytes <= bytes.length) return { text: bytes.toString('utf8'), truncated: false };
    const missing = `[… ${grouped(totalBytes - bytes.length)} bytes omitted; ${rest}]`;
    return { text: `${bytes.toString('utf8')}\n${missing}`, truncated: true };
  }
  const head = headOf(bytes, Math.floor(bytesMax / 4));
  const tail = tailOf(bytes, bytesMax - Math.floor(bytesMax / 4));
  const omitted = totalBytes - head.length - tail.length;
  const marker = `[… ${grouped(omitted)} bytes omitted; ${rest}]`;
  return { text: [head.toString('utf8'), marker, tail.toString('utf8')].join('\n'), truncated: true };
}

/** Up to `bytesMax` from the start, without the line that is cut, unless it is the only one. */
function headOf(bytes: Buffer, bytesMax: number): Buffer {
  if (bytesMax <= 0) return bytes.subarray(0, 0);
  const cut = bytes.subarray(0, bytesMax);
  const end = cut.lastIndexOf(0x0a);
  return end > 0 ? cut.subarray(0, end) : cut.subarray(0, characterStart(bytes, cut.length));
}

/** Up to `bytesMax` from the end, without the line that is cut, unless it is the only one. */
function tailOf(bytes: Buffer, bytesMax: number): Buffer {
  if (bytesMax <= 0) return bytes.subarray(0, 0);
  const start = Math.max(0, bytes.length - bytesMax);
  const line = bytes.indexOf(0x0a, Math.max(0, start - 1));
  if (line >= 0 && line + 1 < bytes.length) return bytes.subarray(line + 1);
  let first = start;
  while (first < bytes.length && isContinuation(bytes[first])) first += 1;
  return bytes.subarray(first);
}

/** The last offset ≤ `offset` at which a UTF-8 character begins. */
function characterStart(bytes: Buffer, offset: number): number {
  let start = offset;
  while (start > 0 && offset - start < 3 && isContinuation(bytes[start])) start -= 1;
  return start;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

/** Whether bytes are better not shown as text: they hold NUL, or much of them is not UTF-8. */
export function isBinary(bytes: Uint8Array): boolean {
  if (bytes.includes(0)) return true;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 64 * 1024)).toString('utf8');
  const replaced = text.split('\uFFFD').length - 1;
  return replaced > 3 + text.length / 10;
}

/** A range of a stream of the main process, read from the operation's log, and the stream's length so far. */
export interface OutputRange {
  readonly bytes: Buffer;
  readonly totalBytes: number;
}

/** Reads `length` bytes from `offset` of what a run has written so far; a negative offset counts from the end. */
export async function readOutput(
  contree: ConTree,
  operation: string,
  range: { readonly stream: StreamName; readonly offset: number; readonly length: number },
  signal: AbortSignal,
): Promise<OutputRange> {
  const [head, tail]: [Buffer[], Buffer[]] = [[], []];
  let totalBytes = 0;
  let cut = false;
  for await (const event of contree.events(operation, { spid: SPID_MAIN, full: true }, signal)) {
    if (event.type === 'truncated' && event.data.stream === range.stream) {
      totalBytes = event.data.bytes_emitted + event.data.bytes_dropped;
      cut = totalBytes > (event.data.bytes_kept ?? event.data.bytes_emitted);
    }
    if (event.type !== range.stream) continue;
    const bytes = streamBytes(event.data);
    if (!cut) totalBytes += bytes.length;
    // The engine keeps no more than this; a server that sends more must not fill our memory.
    if (cut || totalBytes <= limits.outputBytesKept) (cut ? tail : head).push(bytes);
  }
  return { bytes: cutOut(Buffer.concat(head), Buffer.concat(tail), totalBytes, range), totalBytes };
}

/** A range of a stream of which the first and the last bytes were kept. */
function cutOut(
  first: Buffer,
  last: Buffer,
  totalBytes: number,
  { offset, length }: { readonly offset: number; readonly length: number },
): Buffer {
  const lastAt = totalBytes - last.length;
  if (last.length > 0 && (offset < 0 || offset >= lastAt)) {
    const start = offset < 0 ? Math.max(0, last.length + offset) : offset - lastAt;
    return last.subarray(start, start + length);
  }
  const start = offset < 0 ? Math.max(0, first.length + offset) : offset;
  return first.subarray(start, start + length);
}
