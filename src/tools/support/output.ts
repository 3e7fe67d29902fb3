import { limits } from '../../contract/limits.ts';
import { SPID_MAIN } from '../../contract/operation-state.ts';
import { streamBytes } from '../../contract/stream.ts';
import type { ConTree } from '../../contract/contree.ts';
import type { EventData, OperationEvent } from '../../contract/event.ts';
import { grouped } from './text.ts';

export type StreamName = 'stdout' | 'stderr';

/** Part of the output as text, and the size of the omitted part. */
export interface Shown {
  readonly text: string;
  readonly truncated: boolean;
}

/**
 * Returns output for a model: all of it when it fits into `bytesMax`, otherwise the first quarter and the last three
 * quarters of that (errors come last), cut at line ends. `rest` tells how to get the omitted part.
 */
export function showOutput({ first, last, totalBytes }: KeptOutput, bytesMax: number, rest: string): Shown {
  if (isBinary(first) || isBinary(last)) return { text: binaryText(totalBytes), truncated: true };
  const whole = totalBytes <= first.length;
  if (whole && first.length <= bytesMax) return { text: first.toString('utf8'), truncated: false };
  const headBytes = Math.floor(bytesMax / 4);
  const head = headOf(first, headBytes);
  const tail = tailOf(whole || last.length === 0 ? first.subarray(head.length) : last, bytesMax - headBytes);
  const omitted = totalBytes - head.length - tail.length;
  const marker = `[… ${grouped(omitted)} bytes omitted; ${rest}]`;
  const parts = [head.toString('utf8'), marker, tail.toString('utf8')];
  return { text: parts.filter((part) => part !== '').join('\n'), truncated: true };
}

/** Returns the text in place of binary output, which no page of it could show either. */
export function binaryText(bytes: number): string {
  const advice = 'write it to a file in a run with disposable=false, then download that file';
  return `[${grouped(bytes)} bytes of binary output; ${advice}]`;
}

/** Returns up to `bytesMax` from the start, without a partial line unless it is the only one. */
function headOf(bytes: Buffer, bytesMax: number): Buffer {
  if (bytesMax <= 0) return bytes.subarray(0, 0);
  if (bytes.length <= bytesMax) return bytes;
  const cut = bytes.subarray(0, bytesMax);
  const end = cut.lastIndexOf(0x0a);
  return end > 0 ? cut.subarray(0, end) : cut.subarray(0, characterStart(bytes, cut.length));
}

/** Returns up to `bytesMax` from the end, without a partial line unless it is the only one. */
function tailOf(bytes: Buffer, bytesMax: number): Buffer {
  if (bytesMax <= 0) return bytes.subarray(0, 0);
  if (bytes.length <= bytesMax) return bytes;
  const start = bytes.length - bytesMax;
  const line = bytes.indexOf(0x0a, start - 1);
  if (line >= 0 && line + 1 < bytes.length) return bytes.subarray(line + 1);
  let first = start;
  while (first < bytes.length && isContinuation(bytes[first])) first += 1;
  return bytes.subarray(first);
}

/** Returns the last offset ≤ `offset` at which a UTF-8 character begins. */
function characterStart(bytes: Buffer, offset: number): number {
  let start = offset;
  while (start > 0 && offset - start < 3 && isContinuation(bytes[start])) start -= 1;
  return start;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

/** Reports whether bytes are binary: they contain NUL, or much of them is not UTF-8. */
export function isBinary(bytes: Uint8Array): boolean {
  if (bytes.includes(0)) return true;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 64 * 1024)).toString('utf8');
  const replaced = text.split('\uFFFD').length - 1;
  return replaced > 3 + text.length / 10;
}

/** Kept output of a stream of a process: its first bytes and, if some were dropped after those, its last. */
export interface KeptOutput {
  readonly first: Buffer;
  readonly last: Buffer;
  /** Length of the whole stream so far. */
  readonly totalBytes: number;
}

/** Process of an operation; default: the main one. */
export interface ProcessName {
  readonly operation: string;
  readonly spid?: number | undefined;
}

/** Reads one stream of a process so far from the log of its operation. */
export async function readOutput(
  contree: ConTree,
  { operation, spid = SPID_MAIN }: ProcessName,
  stream: StreamName,
  signal: AbortSignal,
): Promise<KeptOutput> {
  const collected = new StreamCollector(stream);
  for await (const event of contree.operations.events(operation, { spid, full: true }, signal)) collected.add(event);
  return collected.kept;
}

/**
 * Collects one stream of a process from its events, which are those of `EventQuery.full`. It keeps no more than the engine,
 * because a server that sends more must not exhaust our memory.
 */
export class StreamCollector {
  readonly #stream: StreamName;
  readonly #first: Buffer[] = [];
  #firstBytes = 0;
  #last: Buffer[] = [];
  #lastBytes = 0;
  #totalBytes = 0;
  /** True after the first bytes. */
  #isTail = false;
  /** True once the total is known, which counts what was dropped and what follows. */
  #isTotal = false;

  constructor(stream: StreamName) {
    this.#stream = stream;
  }

  get kept(): KeptOutput {
    const last = Buffer.concat(this.#last).subarray(-limits.outputBytesKept);
    return { first: Buffer.concat(this.#first), last, totalBytes: this.#totalBytes };
  }

  add(event: OperationEvent): void {
    if (event.type === 'truncated' && event.data.stream === this.#stream) this.#skip(event.data);
    if (event.type !== this.#stream) return;
    const bytes = streamBytes(event.data);
    if (!this.#isTotal) this.#totalBytes += bytes.length;
    const left = this.#isTail ? 0 : limits.outputBytesKept - this.#firstBytes;
    this.#first.push(bytes.subarray(0, left));
    this.#firstBytes += Math.min(left, bytes.length);
    if (bytes.length > left) this.#addLast(bytes.subarray(left));
  }

  #skip({ bytes_emitted: emitted, bytes_dropped: dropped, resumes_at: resumesAt }: EventData<'truncated'>): void {
    if (resumesAt !== undefined && resumesAt <= this.#totalBytes) return;
    this.#isTotal = resumesAt === undefined;
    this.#totalBytes = resumesAt ?? emitted + dropped;
    [this.#isTail, this.#last, this.#lastBytes] = [true, [], 0];
  }

  #addLast(bytes: Buffer): void {
    this.#isTail = true;
    this.#last.push(bytes);
    this.#lastBytes += bytes.length;
    if (this.#lastBytes < 2 * limits.outputBytesKept) return;
    this.#last = [Buffer.concat(this.#last).subarray(-limits.outputBytesKept)];
    this.#lastBytes = limits.outputBytesKept;
  }
}

/**
 * Returns up to `length` kept bytes from `offset` on, or from the next kept byte; `offset` of the result is the actual
 * start. A negative offset counts from the end of the stream.
 */
export function cutOutput(
  { first, last, totalBytes }: KeptOutput,
  offset: number,
  length: number,
): { readonly bytes: Buffer; readonly offset: number } {
  const lastAt = totalBytes - last.length;
  const from = offset < 0 ? Math.max(0, totalBytes + offset) : Math.min(offset, totalBytes);
  if (from < first.length) return { bytes: first.subarray(from, from + length), offset: from };
  const start = Math.max(from, lastAt);
  return { bytes: last.subarray(start - lastAt, start - lastAt + length), offset: start };
}
