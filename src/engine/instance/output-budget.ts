import { isFault } from '../../contract/errors.ts';
import type { EventStore } from '../../store/events.ts';
import type { OutputStream } from '../../store/log/event-rows.ts';

/** Share of the budget that is freed at once, so that not every write has to drop something. */
const FREED_SHARE = 1 / 8;

/**
 * Bound on the output that the log of one operation keeps. Beyond it the oldest output is dropped, whichever process wrote
 * it, and a `truncated` event says so.
 */
export class OutputBudget implements AsyncDisposable {
  readonly #events: EventStore;
  readonly #operation: string;
  readonly #bytesMax: number;
  #bytes = 0;
  /** Event up to which output was dropped. */
  #droppedTo = -1;
  #dropping: Promise<void> | undefined;
  #stopped = false;

  constructor(events: EventStore, operation: string, bytesMax: number) {
    this.#events = events;
    this.#operation = operation;
    this.#bytesMax = bytesMax;
  }

  /** Records that so many bytes were added to the log. */
  wrote(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#bytesMax && !this.#stopped) this.#dropping ??= this.#dropSafely();
  }

  /** Waits until what is too much is gone. */
  async settled(): Promise<void> {
    await this.#dropping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#dropping;
  }

  /** Drops what is too much. On a full disk that may fail; then the next output tries again. */
  async #dropSafely(): Promise<void> {
    try {
      await this.#drop();
    } catch (error) {
      if (!isFault(error, 'DISK_FULL')) throw error;
    } finally {
      this.#dropping = undefined;
    }
  }

  /** Drops in slices, between which other work goes on. */
  async #drop(): Promise<void> {
    const lost = new Map<string, { readonly spid: number; readonly stream: OutputStream; bytes: number }>();
    for (let slice = this.#slice(); slice.rows.length > 0; slice = this.#slice()) {
      for (const { spid, stream, bytes } of slice.rows) {
        const entry = lost.get(`${spid} ${stream}`) ?? { spid, stream, bytes: 0 };
        entry.bytes += bytes;
        lost.set(`${spid} ${stream}`, entry);
      }
      await new Promise(setImmediate);
    }
    for (const { spid, stream, bytes } of lost.values()) {
      const truncated = { stream, bytes_emitted: 0, bytes_dropped: bytes, bytes_kept: 0 };
      this.#events.append(this.#operation, spid, 'truncated', truncated);
    }
  }

  #slice(): ReturnType<EventStore['dropOutput']> {
    const wanted = this.#bytes - this.#bytesMax * (1 - FREED_SHARE);
    const slice = this.#events.dropOutput(this.#operation, this.#droppedTo, Math.max(0, wanted));
    this.#bytes -= slice.bytes;
    this.#droppedTo = slice.last;
    return slice;
  }
}
