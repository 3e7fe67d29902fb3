import { isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { EventStore } from '../../store/events.ts';
import type { OutputStream } from '../../store/log/event-rows.ts';
import type { DroppedOutput, LogPart } from '../../store/log/removal.ts';
import type { AddedOutput } from '../run/process-log.ts';

/** Bounds on the log of one instance. */
export interface LogBounds {
  /** Output of all processes. */
  readonly outputBytes: number;
  readonly outputRows: number;
  /** Output of one stream after its first bytes, which are kept apart. */
  readonly tailBytes: number;
  readonly tailRows: number;
  /** Processes that have ended. */
  readonly processes: number;
}

const BOUNDS: LogBounds = {
  outputBytes: limits.instanceOutputBytesMax,
  outputRows: limits.instanceOutputRowsMax,
  tailBytes: limits.instanceTailBytesMax,
  tailRows: limits.instanceTailRowsMax,
  processes: limits.instanceProcessesLogged,
};

/** Share of a bound on output that is freed at once, so that not every write has to drop something. */
const FREED_SHARE = 1 / 8;

/** Place in the log where output of a stream is missing. */
interface Gap {
  /** Event in place of the first output that was dropped. */
  readonly id: number;
  readonly startsAt: number;
  resumesAt: number;
}

/** Log of one stream. */
interface StreamLog {
  readonly spid: number;
  readonly stream: OutputStream;
  /** Event after which the tail begins. */
  tailFrom?: number;
  tailBytes: number;
  tailRows: number;
  /** Gap behind the first bytes, and the one where the oldest output was. */
  tailGap?: Gap;
  oldestGap?: Gap;
}

/**
 * Bounds on the log of an instance that stays, whose processes may write and be many for days. Everything is added to it, so
 * that followers see it at once. Then the oldest is removed: of one stream what is between its first and its last bytes,
 * of all output the oldest, and all events of the processes that ended first. A `truncated` event takes the place of output.
 */
export class LogBudget implements AsyncDisposable {
  readonly #events: EventStore;
  readonly #operation: string;
  readonly #bounds: LogBounds;
  readonly #streams = new Map<string, StreamLog>();
  /** Streams whose tail is too long. */
  readonly #long = new Set<StreamLog>();
  /** Processes that have ended, oldest first. */
  readonly #ended: number[] = [];
  #bytes = 0;
  #rows = 0;
  /** Event up to which the oldest output was dropped. */
  #droppedTo = -1;
  #forgotten = 0;
  #working: Promise<void> | undefined;
  #stopped = false;

  constructor(events: EventStore, operation: string, bounds: LogBounds = BOUNDS) {
    this.#events = events;
    this.#operation = operation;
    this.#bounds = bounds;
  }

  /** Number of processes whose events were removed. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** Records output that was added to the log. */
  wrote({ spid, stream, bytes, rows, tail }: AddedOutput): void {
    this.#bytes += bytes;
    this.#rows += rows;
    if (tail) this.#lengthen(this.#streamOf(spid, stream), bytes, rows);
    this.#keepBounds();
  }

  /** Records that a process has ended, after its last event. */
  ended(spid: number): void {
    this.#ended.push(spid);
    // At once, because many may end before other work gives way.
    const oldest = this.#ended.length > this.#bounds.processes ? this.#ended[0] : undefined;
    if (oldest !== undefined && !this.#stopped) withRoom(() => this.#forget(oldest));
    this.#keepBounds();
  }

  /** Waits until what is too much is gone. */
  async settled(): Promise<void> {
    await this.#working;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#working;
  }

  #streamOf(spid: number, stream: OutputStream): StreamLog {
    const key = `${spid} ${stream}`;
    const found = this.#streams.get(key) ?? { spid, stream, tailBytes: 0, tailRows: 0 };
    this.#streams.set(key, found);
    return found;
  }

  #lengthen(log: StreamLog, bytes: number, rows: number): void {
    if (log.tailFrom === undefined) {
      // What is written so far stays, with this first piece.
      log.tailFrom = this.#events.lastId(this.#operation);
      return;
    }
    log.tailBytes += bytes;
    log.tailRows += rows;
    if (log.tailBytes > this.#bounds.tailBytes || log.tailRows > this.#bounds.tailRows) this.#long.add(log);
  }

  #keepBounds(): void {
    if (this.#stopped || this.#next() === undefined) return;
    this.#working ??= this.#work();
  }

  /** Removes in slices, between which other work goes on. On a full disk that may fail; then the next event tries again. */
  async #work(): Promise<void> {
    try {
      for (let next = this.#next(); next !== undefined && !this.#stopped; next = this.#next()) {
        next();
        await new Promise(setImmediate);
      }
    } catch (error) {
      if (!isFault(error, 'DISK_FULL')) throw error;
    } finally {
      this.#working = undefined;
    }
  }

  /** Returns the removal of a slice of what is too much; undefined when nothing is. */
  #next(): (() => void) | undefined {
    const [long] = this.#long;
    if (long !== undefined) return () => this.#shorten(long);
    const oldest = this.#ended.length > this.#bounds.processes ? this.#ended[0] : undefined;
    if (oldest !== undefined) return () => this.#forget(oldest);
    const { outputBytes, outputRows } = this.#bounds;
    return this.#bytes > outputBytes || this.#rows > outputRows ? () => this.#dropOldest() : undefined;
  }

  #shorten(log: StreamLog): void {
    const { tailBytes, tailRows } = this.#bounds;
    const { spid, stream, tailFrom = -1 } = log;
    const bytes = excess(log.tailBytes, tailBytes);
    const rows = excess(log.tailRows, tailRows);
    const dropped = this.#drop({ after: tailFrom, spid, stream }, { bytes, rows });
    log.tailFrom = dropped.last;
    log.tailBytes -= dropped.bytes;
    log.tailRows -= dropped.rows.length;
    // Some may have been removed as the oldest of all.
    if (dropped.rows.length === 0) [log.tailBytes, log.tailRows] = [0, 0];
    if (log.tailBytes <= tailBytes && log.tailRows <= tailRows) this.#long.delete(log);
    for (const row of dropped.rows) log.tailGap = widened(log.tailGap, row);
    this.#mark(log, log.tailGap);
  }

  #dropOldest(): void {
    const { outputBytes, outputRows } = this.#bounds;
    const wanted = { bytes: excess(this.#bytes, outputBytes), rows: excess(this.#rows, outputRows) };
    const dropped = this.#drop({ after: this.#droppedTo }, wanted);
    this.#droppedTo = dropped.last;
    if (dropped.rows.length === 0) [this.#bytes, this.#rows] = [0, 0];
    const changed = new Set<StreamLog>();
    for (const row of dropped.rows) {
      const log = this.#streamOf(row.spid, row.stream);
      log.oldestGap = widened(log.oldestGap, row);
      changed.add(log);
    }
    for (const log of changed) this.#mark(log, log.oldestGap);
  }

  #forget(spid: number): void {
    const { bytes, outputRows, done } = this.#events.dropProcess(this.#operation, spid);
    this.#bytes -= bytes;
    this.#rows -= outputRows;
    if (!done) return;
    this.#ended.shift();
    this.#forgotten += 1;
    for (const stream of ['stdout', 'stderr']) {
      const log = this.#streams.get(`${spid} ${stream}`);
      if (log !== undefined) this.#long.delete(log);
      this.#streams.delete(`${spid} ${stream}`);
    }
  }

  #drop(part: LogPart, wanted: { readonly bytes: number; readonly rows: number }): DroppedOutput {
    const dropped = this.#events.dropOutput(this.#operation, part, wanted);
    this.#bytes -= dropped.bytes;
    this.#rows -= dropped.rows.length;
    return dropped;
  }

  #mark({ spid, stream }: StreamLog, gap: Gap | undefined): void {
    if (gap === undefined) return;
    const { id, startsAt, resumesAt } = gap;
    const shownMax = this.#events.spawnOf(this.#operation, spid)?.data.truncate_at ?? Infinity;
    const emitted = Math.min(startsAt, shownMax);
    this.#events.putGap(this.#operation, id, spid, {
      stream,
      bytes_emitted: emitted,
      bytes_dropped: resumesAt - emitted,
      bytes_kept: startsAt,
      resumes_at: resumesAt,
    });
  }
}

/** Does what may fail on a full disk; then the next event tries again. */
function withRoom(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!isFault(error, 'DISK_FULL')) throw error;
  }
}

/** Returns how much of an amount has to go: some more than what exceeds the bound. */
function excess(amount: number, most: number): number {
  return amount > most ? Math.ceil(amount - most * (1 - FREED_SHARE)) : 0;
}

function widened(gap: Gap | undefined, row: DroppedOutput['rows'][number]): Gap {
  const end = row.offset + row.bytes;
  if (gap === undefined) return { id: row.id, startsAt: row.offset, resumesAt: end };
  return { ...gap, resumesAt: end };
}
