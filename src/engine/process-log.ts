import { limits } from '../contract/limits.ts';
import type { OutputChunk } from '../sandbox/driver.ts';
import type { EventStore, OutputStream } from '../store/events.ts';

/** Output events of one stream at most: a program that writes byte by byte must not fill the database with rows. */
const CHUNKS_MAX = 262_144;

interface StreamState {
  /** Bytes the process wrote. */
  total: number;
  /** Bytes the log holds: always the first ones. */
  kept: number;
  chunks: number;
}

/** Writes what one process puts out to the log of its operation, up to the limit; the rest is counted. */
export class ProcessLog {
  readonly #events: EventStore;
  readonly #operation: string;
  readonly #spid: number;
  readonly #shownMax: number;
  readonly #streams: Readonly<Record<OutputStream, StreamState>> = {
    stdout: { total: 0, kept: 0, chunks: 0 },
    stderr: { total: 0, kept: 0, chunks: 0 },
  };

  /** `shownMax` is the caller's `truncate_output_at`; more than that is kept all the same. */
  constructor(events: EventStore, operation: string, spid: number, shownMax: number) {
    this.#events = events;
    this.#operation = operation;
    this.#spid = spid;
    this.#shownMax = shownMax;
  }

  write({ stream, bytes }: OutputChunk): void {
    const state = this.#streams[stream];
    // Once something is dropped nothing more is kept, so that what is kept has no gaps.
    const whole = state.total === state.kept && state.chunks < CHUNKS_MAX;
    const room = whole ? limits.outputBytesKept - state.kept : 0;
    const kept = bytes.subarray(0, room);
    for (let at = 0; at < kept.byteLength; at += limits.outputEventBytesMax) {
      const piece = kept.subarray(at, at + limits.outputEventBytesMax);
      this.#events.appendOutput(this.#operation, {
        spid: this.#spid,
        stream,
        offset: state.kept + at,
        bytes: piece,
      });
    }
    state.total += bytes.byteLength;
    state.kept += kept.byteLength;
    state.chunks += 1;
  }

  /** Says what is not shown. Once, when the process has ended. */
  close(): void {
    for (const stream of ['stdout', 'stderr'] as const) {
      const { total, kept } = this.#streams[stream];
      const emitted = Math.min(kept, this.#shownMax);
      if (emitted === total) continue;
      this.#events.append(this.#operation, this.#spid, 'truncated', {
        stream,
        bytes_emitted: emitted,
        bytes_dropped: total - emitted,
        bytes_kept: kept,
      });
    }
  }
}
