import { fault, isFault } from '../contract/errors.ts';
import { SPID_INIT } from '../contract/operation-state.ts';
import type { EventData } from '../contract/event.ts';
import { limits } from '../contract/limits.ts';
import { assert } from '../std/assert.ts';
import { Turns } from '../std/event-loop.ts';
import type { Database } from './database.ts';
import type { ImportProgress } from '../contract/image.ts';
import {
  parseEvent,
  selection,
  type EventRow,
  type FactType,
  type OutputStream,
  type PageKey,
  type StoredEvent,
} from './log/event-rows.ts';
import { removeOutput, removeProcess, type DroppedOutput, type DroppedProcess, type LogPart } from './log/removal.ts';

export interface ReadOptions {
  /** Id of the last event that the reader has; -1 for none. */
  readonly since: number;
  readonly follow: boolean;
  /** Only the events of this process. */
  readonly spid?: number | undefined;
}

/** Entry without an id yet. */
type PendingEvent = { readonly operation: string; readonly atMs: number; readonly spid: number } & (
  | {
      readonly type: OutputStream;
      readonly offset: number;
      chunks: Uint8Array[];
      length: number;
      progress: ImportProgress | undefined;
    }
  | { readonly type: FactType; readonly data: unknown }
);
type PendingOutput = Extract<PendingEvent, { chunks: unknown }>;

/** Interval between writes: one transaction for a burst, and no delay for a single event. */
const FLUSH_INTERVAL_MS = 5;
/** Delay before a write that failed on a full disk is retried. */
const RETRY_MS = 1_000;
const PAGE_EVENTS = 256;
/** Size limit of a page, which is held in memory while its reader processes it. */
const PAGE_BYTES = 128 * 1024;

/**
 * Logs of all operations: append-only, with ids from 0 per operation, replayable forever, followed by
 * notification. Only of instances that stay for days is the oldest removed.
 * Appending only queues; the queue is written a few milliseconds later in one transaction. Readers never see an event
 * that is not in the database.
 */
export class EventStore implements Disposable {
  readonly #database: Database;
  readonly #nextId = new Map<string, number>();
  readonly #waiters = new Map<string, Set<() => void>>();
  readonly #turns = new Turns();
  /** The page of a growing log that was read last; other followers request the same page next. */
  #lastPage: (PageKey & { readonly events: readonly StoredEvent[] }) | undefined;
  #pending: PendingEvent[] = [];
  #timer: NodeJS.Timeout | undefined;
  #flushedAtMs = 0;
  #closed = false;

  constructor(database: Database) {
    this.#database = database;
  }

  append<Type extends FactType>(operation: string, spid: number, type: Type, data: EventData<Type>): void {
    this.#queue({ operation, atMs: Date.now(), spid, type, data });
  }

  /** Forgets an ended operation, whose log is about to be replaced by another. */
  forget(operation: string): void {
    this.flush();
    this.#nextId.delete(operation);
    this.#lastPage = undefined;
  }

  /** Copies the log of an ended operation, except its completion, to one that has no log yet. */
  copy(from: string, to: string): void {
    this.flush();
    this.#database.run(
      `INSERT INTO events (operation, id, at, spid, type, data, offset, bytes)
       SELECT ?, id, at, spid, type, data, offset, bytes FROM events WHERE operation = ? AND type <> 'completion'`,
      to,
      from,
    );
  }

  /**
   * Appends output of a process, merged with pending output of the same stream. The bytes are not copied. Returns whether it
   * becomes an event of its own.
   */
  appendOutput(
    operation: string,
    output: {
      readonly spid: number;
      readonly stream: OutputStream;
      readonly offset: number;
      readonly bytes: Uint8Array;
      readonly progress?: ImportProgress | undefined;
    },
  ): boolean {
    const { spid, stream, offset, bytes, progress } = output;
    const last = this.#pending.at(-1);
    if (
      last !== undefined &&
      'chunks' in last &&
      last.operation === operation &&
      last.spid === spid &&
      last.type === stream &&
      last.offset + last.length === offset &&
      last.length + bytes.byteLength <= limits.outputEventBytesMax
    ) {
      last.chunks.push(bytes);
      last.length += bytes.byteLength;
      last.progress = progress ?? last.progress;
      return false;
    }
    assert(bytes.byteLength <= limits.outputEventBytesMax, 'output is appended in pieces');
    const atMs = Date.now();
    this.#queue({ operation, atMs, spid, type: stream, offset, chunks: [bytes], length: bytes.byteLength, progress });
    return true;
  }

  /** Writes the queue, in the open transaction or in its own. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.length === 0) return;
    const pending = this.#pending;
    const next = new Map(this.#nextId);
    this.#lastPage = undefined;
    this.#database.transaction(() => {
      for (const event of pending) this.#insert(event, next);
    });
    this.#pending = [];
    this.#flushedAtMs = performance.now();
    for (const [operation, id] of next) this.#nextId.set(operation, id);
    for (const { operation, type } of pending) {
      if (type === 'completion') this.#nextId.delete(operation);
      for (const wake of this.#waiters.get(operation) ?? []) wake();
    }
  }

  /** Saves the queue; the returned function restores it after a transaction was rolled back. */
  checkpoint(): () => void {
    const [pending, nextId] = [[...this.#pending], new Map(this.#nextId)];
    return () => {
      this.#pending = pending;
      this.#nextId.clear();
      for (const [operation, id] of nextId) this.#nextId.set(operation, id);
      if (pending.length > 0) this.#schedule(FLUSH_INTERVAL_MS);
    };
  }

  /** Drops queued output and records the gap, for a full disk. */
  dropQueuedOutput(): void {
    this.#pending = withoutOutput(this.#pending);
  }

  /**
   * Returns a page of events with larger ids, oldest first: at least one event, or empty when there is none now. Those of
   * one process are found without reading the others.
   */
  page(operation: string, since: number, spid?: number): readonly StoredEvent[] {
    this.#tryFlush();
    const key: PageKey = { operation, since, spid };
    const known = this.#lastPage;
    if (known?.operation === operation && known.since === since && known.spid === spid) return known.events;
    const last = this.#pageEnd(key);
    const [which, ...values] = selection(key);
    const sql = `SELECT * FROM events WHERE ${which} AND id <= ? ORDER BY id`;
    const rows = this.#database.all<EventRow>(sql, ...values, last);
    const events = rows.map((row) => parseEvent(operation, row));
    // A log that is still being written is never collected, so the cached page stays valid.
    if (this.#nextId.has(operation)) this.#lastPage = { ...key, events };
    return events;
  }

  /**
   * Returns the events of one process, oldest first. Output is limited to the events that hold any of the first
   * `bytesMax` bytes of their stream and, with `ends`, any of its last `bytesMax`, always including the last event.
   */
  ofProcess(operation: string, spid: number, bytesMax: number, ends = false): StoredEvent[] {
    this.#tryFlush();
    // The sizes are computed once: a subquery in the condition would be evaluated for each of up to 262,144 rows.
    const sql = ends
      ? `WITH sizes AS MATERIALIZED (SELECT type, max(offset + length(bytes)) AS size FROM events
          WHERE operation = ?1 AND spid = ?2 AND offset IS NOT NULL GROUP BY type)
        SELECT events.* FROM events LEFT JOIN sizes USING (type) WHERE operation = ?1 AND spid = ?2
          AND (offset IS NULL OR offset < ?3 OR offset + length(bytes) >= size - ?3) ORDER BY id`
      : `SELECT * FROM events WHERE operation = ?1 AND spid = ?2 AND (offset IS NULL OR offset < ?3) ORDER BY id`;
    return this.#database.all<EventRow>(sql, operation, spid, bytesMax).map((row) => parseEvent(operation, row));
  }

  /** Returns the `spawn` event of a process; undefined when it was not started. */
  spawnOf(operation: string, spid: number): Extract<StoredEvent, { readonly type: 'spawn' }> | undefined {
    this.#tryFlush();
    const sql = `SELECT * FROM events WHERE operation = ? AND spid = ? AND type = 'spawn' ORDER BY id LIMIT 1`;
    const row = this.#database.get<EventRow>(sql, operation, spid);
    const event = row && parseEvent(operation, row);
    return event?.type === 'spawn' ? event : undefined;
  }

  /** Returns the id of the last event of a log so far; -1 when there is none. */
  lastId(operation: string): number {
    this.#tryFlush();
    return (this.#nextId.get(operation) ?? this.#firstFreeId(operation)) - 1;
  }

  /** Removes the oldest output of a part of a log, as `removeOutput` does. */
  dropOutput(operation: string, part: LogPart, wanted: Parameters<typeof removeOutput>[3]): DroppedOutput {
    this.#tryFlush();
    this.#lastPage = undefined;
    return removeOutput(this.#database, operation, part, wanted);
  }

  /** Removes events of a process that has ended, as `removeProcess` does. */
  dropProcess(operation: string, spid: number): DroppedProcess {
    this.#tryFlush();
    this.#lastPage = undefined;
    return removeProcess(this.#database, operation, spid);
  }

  /** Puts a fact about missing output in the place of an event that was removed, or of the fact that is there. */
  putGap(operation: string, id: number, spid: number, data: EventData<'truncated'>): void {
    this.#lastPage = undefined;
    this.#database.run(
      `INSERT OR REPLACE INTO events (operation, id, at, spid, type, data) VALUES (?, ?, ?, ?, 'truncated', ?)`,
      operation,
      id,
      Date.now(),
      spid,
      JSON.stringify(data),
    );
  }

  /** Yields the log: what it has now, or with `follow` until the completion of the operation. */
  async *read(
    operation: string,
    { since, follow, spid }: ReadOptions,
    signal?: AbortSignal,
  ): AsyncIterable<StoredEvent> {
    let last = since;
    for (;;) {
      signal?.throwIfAborted();
      if (this.#closed) throw fault('ENGINE_UNAVAILABLE', { reason: 'it is shutting down' });
      const page = this.page(operation, last, spid);
      for (const event of page) {
        yield event;
        last = event.id;
        if (event.type === 'completion') return;
      }
      if (page.length > 0) continue;
      if (!follow || this.#isComplete(operation)) return;
      await this.#changed(operation, signal);
      // All followers are woken together; other work waits for one of them, not for all.
      await this.#turns.take();
    }
  }

  /** Ends every follower. */
  [Symbol.dispose](): void {
    this.#tryFlush();
    clearTimeout(this.#timer);
    this.#closed = true;
    for (const waiters of this.#waiters.values()) for (const wake of waiters) wake();
  }

  /** Returns the id of the last event of a page, which is bounded because its reader may hold it indefinitely. */
  #pageEnd(key: PageKey): number {
    const [which, ...values] = selection(key);
    const sql = `SELECT id, coalesce(length(bytes), 0) AS size FROM events WHERE ${which} ORDER BY id LIMIT ?`;
    let [last, bytes] = [key.since, 0];
    for (const { id, size } of this.#database.all<{ id: number; size: number }>(sql, ...values, PAGE_EVENTS)) {
      bytes += size;
      if (bytes > PAGE_BYTES && last !== key.since) break;
      last = id;
    }
    return last;
  }

  /**
   * Reports whether the operation has ended. Its sandbox may still be ending, so that the completion need not be the last
   * event; it is among the last ones of the guest agent.
   */
  #isComplete(operation: string): boolean {
    const sql = `SELECT 1 FROM events WHERE operation = ? AND spid = ? AND type = 'completion' ORDER BY id DESC LIMIT 1`;
    return this.#database.get(sql, operation, SPID_INIT) !== undefined;
  }

  #queue(event: PendingEvent): void {
    this.#pending.push(event);
    this.#schedule(Math.max(0, FLUSH_INTERVAL_MS - (performance.now() - this.#flushedAtMs)));
  }

  #schedule(delayMs: number): void {
    this.#timer ??= setTimeout(() => this.#tryFlush(), delayMs);
  }

  /** Writes the queue; on a full disk, output is replaced by a `truncated` entry, so the log itself is never lost. */
  #tryFlush(): void {
    try {
      this.flush();
    } catch (error) {
      if (!isFault(error, 'DISK_FULL')) throw error;
      this.dropQueuedOutput();
      this.#schedule(RETRY_MS);
    }
  }

  #insert(event: PendingEvent, next: Map<string, number>): void {
    const id = next.get(event.operation) ?? this.#firstFreeId(event.operation);
    next.set(event.operation, id + 1);
    const isOutput = 'chunks' in event;
    this.#database.run(
      'INSERT INTO events (operation, id, at, spid, type, data, offset, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      event.operation,
      id,
      event.atMs,
      event.spid,
      event.type,
      dataOf(event),
      isOutput ? event.offset : null,
      isOutput ? Buffer.concat(event.chunks) : null,
    );
  }

  #firstFreeId(operation: string): number {
    const row = this.#database.get<{ last: number | null }>(
      'SELECT max(id) AS last FROM events WHERE operation = ?',
      operation,
    );
    return (row?.last ?? -1) + 1;
  }

  #changed(operation: string, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(operation) ?? new Set();
      this.#waiters.set(operation, waiters);
      const settle = (finish: () => void) => () => {
        waiters.delete(wake);
        if (waiters.size === 0) this.#waiters.delete(operation);
        signal?.removeEventListener('abort', abort);
        finish();
      };
      const wake = settle(resolve);
      const abort = settle(() => reject(signal?.reason as Error));
      waiters.add(wake);
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted === true) abort();
    });
  }
}

/** Returns the `data` column: the data of a fact, or the figures of an import's line. */
function dataOf(event: PendingEvent): string | null {
  if (!('chunks' in event)) return JSON.stringify(event.data);
  return event.progress === undefined ? null : JSON.stringify(event.progress);
}

/** Replaces output by one `truncated` entry per stream. */
function withoutOutput(pending: readonly PendingEvent[]): PendingEvent[] {
  const lost = new Map<string, { readonly first: PendingOutput; bytes: number }>();
  for (const event of pending) {
    if (!('chunks' in event)) continue;
    const key = `${event.operation} ${event.spid} ${event.type}`;
    const entry = lost.get(key) ?? { first: event, bytes: 0 };
    entry.bytes += event.length;
    lost.set(key, entry);
  }
  const notes = [...lost.values()].map(({ first: { operation, atMs, spid, type, offset }, bytes }) => ({
    operation,
    atMs,
    spid,
    type: 'truncated' as const,
    data: { stream: type, bytes_emitted: offset, bytes_dropped: bytes, bytes_kept: offset },
  }));
  return [...notes, ...pending.filter((event) => !('chunks' in event))];
}
