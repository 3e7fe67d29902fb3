import { createGunzip, createGzip, gzipSync } from 'node:zlib';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { fault, isFault } from '../../contract/errors.ts';
import { OperationEventType } from '../../contract/event.ts';
import { SPID_INIT } from '../../contract/operation-state.ts';
import { assert } from '../../std/assert.ts';
import { linesOf } from '../../std/json-lines.ts';
import { parseEvent, type EventRow, type StoredEvent } from '../log/event-rows.ts';
import type { StoredOperation } from '../operations.ts';
import type { StoreParts } from '../parts.ts';

/** One line of an exported log. */
const Line = z.strictObject({
  id: z.int().nonnegative(),
  at: z.int(),
  spid: z.int().nonnegative(),
  type: OperationEventType,
  data: z.string().nullable(),
  offset: z.int().nonnegative().nullable(),
  bytes: z.base64().nullable(),
});

/** Longest line that is read: a fact, or 64 KiB of output as base64. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;
/** Largest log that is compressed at once: a stream costs more than that. */
const COMPRESSED_AT_ONCE = 64 * 1024;
/** Events written at once, so that other work comes in between. */
const PER_TURN = 64;
/** No project has this name: an operation whose log is not complete yet is found by nobody. */
const INCOMPLETE = '';

/**
 * Ended operations that a cluster's catalogue has, of which this store is a cache. Their log is exported as gzip of NDJSON,
 * without the `completion`, which follows from the operation itself.
 */
export class SharedOperations {
  readonly #parts: StoreParts;

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /** Marks an ended operation as known to the catalogue with its log, so that gc may forget it here. */
  mark(uuid: string): void {
    this.#parts.database.run('UPDATE operations SET shared = 1 WHERE uuid = ?', uuid);
  }

  /** Reports whether the operation is here as the catalogue has it. */
  has(project: string, uuid: string): boolean {
    const sql = 'SELECT 1 FROM operations WHERE uuid = ? AND project = ? AND shared = 1';
    return this.#parts.database.get(sql, uuid, project) !== undefined;
  }

  /** Yields the log of an operation, compressed. */
  exportLog(uuid: string): AsyncIterable<Uint8Array> {
    return compressed(this.#lines(uuid));
  }

  /**
   * Takes over an ended operation with its log, in place of an ended one with that UUID. It is visible once it is complete.
   * One at a time for a UUID. Rejects with OBJECT_DAMAGED or DISK_FULL.
   */
  async adopt(
    project: string,
    operation: StoredOperation,
    log: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    const { database } = this.#parts;
    const { uuid } = operation;
    assert(operation.finishedAtMs !== null, 'only an operation that has ended is adopted');
    this.#parts.transaction(() => this.#begin(operation), {});
    try {
      let last = -1;
      for await (const rows of inTurns(this.#parsed(uuid, log))) {
        signal.throwIfAborted();
        last = rows.at(-1)?.id ?? last;
        database.transaction(() => rows.forEach((row) => this.#insert(uuid, row)));
        await new Promise(setImmediate);
      }
      database.transaction(() => {
        this.#insert(uuid, completionOf(operation, last + 1));
        database.run('UPDATE operations SET project = ?, shared = 1 WHERE uuid = ?', project, uuid);
      });
    } catch (error) {
      database.run('DELETE FROM operations WHERE uuid = ? AND project = ?', uuid, INCOMPLETE);
      throw error;
    }
  }

  #begin(operation: StoredOperation): void {
    const { database, events } = this.#parts;
    events.forget(operation.uuid);
    const sql = 'DELETE FROM operations WHERE uuid = ? AND finished_at IS NOT NULL';
    database.run(sql, operation.uuid);
    database.run(
      `INSERT INTO operations (uuid, project, kind, status, request, image, stays, result_image, result_tag, image_bytes,
         outcome, error, error_code, created_at, started_at, finished_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      operation.uuid,
      INCOMPLETE,
      operation.kind,
      operation.status,
      operation.request,
      operation.image,
      operation.stays ? 1 : 0,
      operation.resultImage,
      operation.resultTag,
      operation.imageBytes,
      JSON.stringify(operation.outcome),
      operation.error,
      operation.errorCode,
      operation.createdAtMs,
      operation.startedAtMs,
      operation.finishedAtMs,
    );
  }

  async *#lines(uuid: string): AsyncGenerator<Uint8Array> {
    let last = -1;
    for (;;) {
      const page = this.#parts.events.page(uuid, last);
      if (page.length === 0) return;
      last = page.at(-1)?.id ?? last;
      const lines = page.filter((event) => !isCompletion(event)).map((event) => `${JSON.stringify(lineOf(event))}\n`);
      if (lines.length > 0) yield Buffer.from(lines.join(''));
      await new Promise(setImmediate);
    }
  }

  async *#parsed(uuid: string, log: AsyncIterable<Uint8Array>): AsyncGenerator<EventRow> {
    const damaged = (reason: string): Error => fault('OBJECT_DAMAGED', { key: `log of operation ${uuid}`, reason });
    let next = 0;
    try {
      for await (const text of linesOf(unzipped(log), LINE_BYTES_MAX)) {
        const { bytes, ...line } = Line.parse(JSON.parse(text));
        if (line.id < next) throw damaged('its events are out of order');
        next = line.id + 1;
        const row = { ...line, bytes: bytes === null ? null : Buffer.from(bytes, 'base64') };
        // Refuses what could not be read from the store again.
        parseEvent(uuid, row);
        yield row;
      }
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      throw damaged((error as Error).message.slice(0, 200));
    }
  }

  #insert(uuid: string, { id, at, spid, type, data, offset, bytes }: EventRow): void {
    this.#parts.database.run(
      'INSERT INTO events (operation, id, at, spid, type, data, offset, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      uuid,
      id,
      at,
      spid,
      type,
      data,
      offset,
      bytes,
    );
  }
}

async function* compressed(lines: AsyncGenerator<Uint8Array, void>): AsyncGenerator<Uint8Array> {
  const first: Uint8Array[] = [];
  for (let bytes = 0; bytes <= COMPRESSED_AT_ONCE; bytes += first.at(-1)?.byteLength ?? 0) {
    const { value, done } = await lines.next();
    if (done === true) {
      yield gzipSync(Buffer.concat(first));
      return;
    }
    first.push(value);
  }
  const all = async function* (): AsyncGenerator<Uint8Array> {
    yield* first;
    yield* lines;
  };
  yield* Readable.from(all()).pipe(createGzip());
}

/** Deletes operations whose log was not complete when the process ended. */
export function dropIncomplete(parts: StoreParts): void {
  parts.database.run('DELETE FROM operations WHERE project = ?', INCOMPLETE);
}

/** Returns the event with which every log of an ended operation ends. */
function completionOf(operation: StoredOperation, id: number): EventRow {
  const { status, createdAtMs, startedAtMs, resultImage, error, imageBytes } = operation;
  const finishedAtMs = operation.finishedAtMs ?? createdAtMs;
  const data = {
    status,
    duration_ms: Math.max(0, finishedAtMs - (startedAtMs ?? createdAtMs)),
    result_image_uuid: resultImage,
    error,
    image_size_bytes: imageBytes ?? 0,
  };
  const text = JSON.stringify(data);
  return { id, at: finishedAtMs, spid: SPID_INIT, type: 'completion', data: text, offset: null, bytes: null };
}

function isCompletion({ type, spid }: StoredEvent): boolean {
  return type === 'completion' && spid === SPID_INIT;
}

function lineOf(event: StoredEvent): z.infer<typeof Line> {
  const { id, atMs: at, spid, type } = event;
  if ('data' in event) return { id, at, spid, type, data: JSON.stringify(event.data), offset: null, bytes: null };
  const data = event.progress === undefined ? null : JSON.stringify(event.progress);
  return { id, at, spid, type, data, offset: event.offset, bytes: Buffer.from(event.bytes).toString('base64') };
}

async function* unzipped(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip();
  const from = Readable.from(source);
  from.on('error', (error) => gunzip.destroy(error));
  yield* from.pipe(gunzip) as AsyncIterable<Uint8Array>;
}

async function* inTurns(rows: AsyncIterable<EventRow>): AsyncGenerator<EventRow[]> {
  let turn: EventRow[] = [];
  for await (const row of rows) {
    turn.push(row);
    if (turn.length < PER_TURN) continue;
    yield turn;
    turn = [];
  }
  if (turn.length > 0) yield turn;
}

/** Reports whether an error says that the log is not one, rather than that it could not be had. */
function isUnreadable(error: unknown): boolean {
  if (error instanceof z.ZodError || error instanceof SyntaxError || error instanceof RangeError) return true;
  if (isFault(error, 'STORE_CORRUPT')) return true;
  return error instanceof Error && 'code' in error && String(error.code).startsWith('Z_');
}
