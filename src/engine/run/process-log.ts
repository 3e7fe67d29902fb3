import { limits } from '../../contract/limits.ts';
import type { OutputChunk } from '../../sandbox/driver.ts';
import type { OutputStream } from '../../store/log/event-rows.ts';
import type { EventStore } from '../../store/events.ts';

/**
 * Maximum number of output events per stream: a program that writes byte by byte must not fill the database with rows.
 */
const CHUNKS_MAX = 262_144;

/** Output that was added to the log. */
export interface AddedOutput {
  readonly spid: number;
  readonly stream: OutputStream;
  readonly bytes: number;
  /** Number of events that it takes up. */
  readonly rows: number;
  /** True for what comes after the first bytes of the stream, up to the limit. */
  readonly tail: boolean;
}

export interface ProcessLogOptions {
  /** The caller's `truncate_output_at`; the log keeps more than that. */
  readonly shownMax: number;
  /** Called with what was added to the log, of which its receiver removes what is too much. */
  readonly wrote?: ((output: AddedOutput) => void) | undefined;
}

/**
 * Writes the output of one process to the log of its operation: the first bytes up to the limit, and the last ones when it
 * has ended. With `wrote` all of it is written at once, so that followers see it.
 */
export class ProcessLog {
  readonly #events: EventStore;
  readonly #operation: string;
  readonly #spid: number;
  readonly #shownMax: number;
  readonly #wrote: ProcessLogOptions['wrote'];
  readonly #streams: Readonly<Record<OutputStream, StreamState>> = {
    stdout: new StreamState(),
    stderr: new StreamState(),
  };

  constructor(events: EventStore, operation: string, spid: number, { shownMax, wrote }: ProcessLogOptions) {
    this.#events = events;
    this.#operation = operation;
    this.#spid = spid;
    this.#shownMax = shownMax;
    this.#wrote = wrote;
  }

  write({ stream, bytes }: OutputChunk): void {
    const state = this.#streams[stream];
    const at = state.total;
    const kept = state.take(bytes);
    this.#append(stream, at, bytes.subarray(0, kept));
    if (kept === bytes.byteLength) return;
    const rest = bytes.subarray(kept);
    if (this.#wrote === undefined) state.remember(rest);
    else this.#append(stream, at + kept, rest, { tail: true });
  }

  /** Records what is not shown. Called once, when the process has ended. */
  close(): void {
    for (const stream of ['stdout', 'stderr'] as const) {
      const { total, kept, tail } = this.#streams[stream];
      const emitted = Math.min(kept, this.#shownMax);
      if (emitted === total) continue;
      this.#events.append(this.#operation, this.#spid, 'truncated', {
        stream,
        bytes_emitted: emitted,
        bytes_dropped: total - emitted,
        bytes_kept: kept,
        ...(this.#wrote !== undefined && { resumes_at: total }),
      });
      // A long output has its errors at the end.
      this.#append(stream, total - tail.byteLength, tail);
    }
  }

  #append(stream: OutputStream, offset: number, bytes: Uint8Array, { tail = false } = {}): void {
    const spid = this.#spid;
    let rows = 0;
    for (let at = 0; at < bytes.byteLength; at += limits.outputEventBytesMax) {
      const piece = bytes.subarray(at, at + limits.outputEventBytesMax);
      const added = this.#events.appendOutput(this.#operation, { spid, stream, offset: offset + at, bytes: piece });
      rows += added ? 1 : 0;
    }
    if (bytes.byteLength > 0) this.#wrote?.({ spid, stream, bytes: bytes.byteLength, rows, tail });
  }
}

/** State of one stream: what was written and what was kept. */
class StreamState {
  /** Bytes that the process wrote. */
  total = 0;
  /** Bytes kept: always the first ones. */
  kept = 0;
  #chunks = 0;
  #tail: Uint8Array[] = [];
  #tailBytes = 0;

  /** Last bytes of those that were dropped. */
  get tail(): Uint8Array {
    return Buffer.concat(this.#tail).subarray(-limits.outputTailBytes);
  }

  /** Counts a chunk and returns how many of its bytes are kept. */
  take(chunk: Uint8Array): number {
    // Nothing is kept after the first dropped byte, so that the kept part has no gaps.
    const whole = this.total === this.kept && this.#chunks < CHUNKS_MAX;
    const kept = whole ? Math.min(chunk.byteLength, limits.outputBytesKept - this.kept) : 0;
    this.#chunks += 1;
    this.total += chunk.byteLength;
    this.kept += kept;
    return kept;
  }

  /** Adds bytes that are not kept, of which the last ones are. */
  remember(bytes: Uint8Array): void {
    this.#tail.push(bytes);
    this.#tailBytes += bytes.byteLength;
    // Concatenated at intervals, so that neither tiny nor large chunks make the tail expensive.
    if (this.#tailBytes < 4 * limits.outputTailBytes && this.#tail.length < 1_024) return;
    this.#tail = [Buffer.from(this.tail)];
    this.#tailBytes = this.#tail[0]?.byteLength ?? 0;
  }
}
