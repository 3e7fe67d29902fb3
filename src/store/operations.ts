import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import {
  ExecutionReport,
  OperationKind,
  OperationStatus,
  isFinished,
  type OperationQuery,
} from '../contract/operation.ts';
import { InstanceResultResources, InstanceResultState } from '../contract/run.ts';
import { assert } from '../std/assert.ts';
import { Conditions, parseColumn, parseValue, type Database } from './database.ts';

/** Outcome of an operation that is stored in addition to its event log. */
export const OperationOutcome = z.object({
  /** Result of the main process, as in the API. */
  state: InstanceResultState.optional(),
  resources: InstanceResultResources.optional(),
  execution: ExecutionReport.optional(),
  /** Earlier run whose result this is, and the seconds from its end until then. */
  reused: z.object({ operation: z.string(), age: z.number() }).optional(),
  /** Number of images made of an instance that stays, until it ended. */
  snapshots: z.int().optional(),
});
export type OperationOutcome = z.infer<typeof OperationOutcome>;

/**
 * An operation in the store. Its status only moves forward: PENDING, ASSIGNED, EXECUTING, one of three final ones.
 */
export interface StoredOperation {
  readonly uuid: string;
  readonly kind: OperationKind;
  readonly status: OperationStatus;
  /** Request without secrets; its schema belongs to the engine. */
  readonly request: string;
  readonly image: string | null;
  /** True for an instance that stays until it is closed. */
  readonly stays: boolean;
  readonly resultImage: string | null;
  readonly resultTag: string | null;
  readonly imageBytes: number | null;
  readonly outcome: OperationOutcome;
  readonly error: string | null;
  readonly errorCode: string | null;
  readonly createdAtMs: number;
  readonly startedAtMs: number | null;
  readonly finishedAtMs: number | null;
  /** True when gc has dropped the output from the log. */
  readonly outputDropped: boolean;
}

export interface NewOperation {
  /** UUID that it was given elsewhere; a finished operation that has it is replaced. */
  readonly uuid?: string;
  readonly kind: OperationKind;
  /** Request as JSON, without secrets. */
  readonly request: string;
  /** UUID of the input image of a run. */
  readonly image?: string;
  /** True for an instance that stays. */
  readonly stays?: boolean;
}

/** End of an operation. */
export interface OperationEnd {
  readonly status: 'SUCCESS' | 'FAILED' | 'CANCELLED';
  /** Time of the end; default now. */
  readonly atMs?: number;
  readonly resultImage?: string;
  readonly resultTag?: string;
  readonly imageBytes?: number;
  readonly outcome?: OperationOutcome;
  readonly error?: string;
  readonly errorCode?: string;
}

interface OperationRow {
  readonly uuid: string;
  readonly kind: string;
  readonly status: string;
  readonly request: string;
  readonly image: string | null;
  readonly result_image: string | null;
  readonly result_tag: string | null;
  readonly image_bytes: number | null;
  readonly outcome: string | null;
  readonly error: string | null;
  readonly error_code: string | null;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly output_dropped: number;
  readonly stays: number;
}

const UNFINISHED = `('PENDING', 'ASSIGNED', 'EXECUTING')`;

/** Operations of one project: request, status and outcome. */
export class OperationStore {
  readonly #database: Database;
  readonly #project: string;

  constructor(database: Database, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /** Creates a PENDING operation and returns its UUID. */
  create(operation: NewOperation): string {
    const { uuid = randomUUID() } = operation;
    if (operation.uuid !== undefined) {
      this.#database.run(`DELETE FROM operations WHERE uuid = ? AND status NOT IN ${UNFINISHED}`, uuid);
    }
    this.#database.run(
      `INSERT INTO operations (uuid, project, kind, status, request, image, stays, created_at)
       VALUES (?, ?, ?, 'PENDING', ?, ?, ?, ?)`,
      uuid,
      this.#project,
      operation.kind,
      operation.request,
      operation.image ?? null,
      operation.stays === true ? 1 : 0,
      Date.now(),
    );
    return uuid;
  }

  find(uuid: string): StoredOperation | undefined {
    const sql = 'SELECT * FROM operations WHERE uuid = ? AND project = ?';
    const row = this.#database.get<OperationRow>(sql, uuid.toLowerCase(), this.#project);
    return row && stored(row);
  }

  get(uuid: string): StoredOperation {
    const operation = this.find(uuid);
    if (operation === undefined) throw fault('OPERATION_NOT_FOUND', { operation: uuid });
    return operation;
  }

  /** Moves an operation from PENDING to ASSIGNED: it has been admitted and starts now. Returns that time (ms since 1970). */
  assign(uuid: string): number {
    const atMs = Date.now();
    this.#move(`status = 'ASSIGNED', started_at = ?`, `'PENDING'`, atMs, uuid);
    return atMs;
  }

  /** Moves an operation from ASSIGNED to EXECUTING. */
  execute(uuid: string): void {
    this.#move(`status = 'EXECUTING', started_at = coalesce(started_at, ?)`, `'ASSIGNED'`, Date.now(), uuid);
  }

  /** Records the result that an operation has published so far. */
  keep(uuid: string, { resultImage, resultTag, imageBytes, outcome }: Omit<OperationEnd, 'status'>): void {
    const changed = this.#database.run(
      `UPDATE operations SET result_image = ?, result_tag = ?, image_bytes = ?, outcome = ?
         WHERE uuid = ? AND status = 'EXECUTING'`,
      resultImage ?? null,
      resultTag ?? null,
      imageBytes ?? null,
      outcome ? JSON.stringify(outcome) : null,
      uuid,
    );
    assert(changed === 1, `operation ${uuid} is executing`);
  }

  /** Ends an operation; only once. */
  finish(uuid: string, end: OperationEnd): void {
    const changed = this.#database.run(
      `UPDATE operations SET status = ?, result_image = ?, result_tag = ?, image_bytes = ?, outcome = ?, error = ?,
         error_code = ?, finished_at = ? WHERE uuid = ? AND status IN ${UNFINISHED}`,
      end.status,
      end.resultImage ?? null,
      end.resultTag ?? null,
      end.imageBytes ?? null,
      end.outcome ? JSON.stringify(end.outcome) : null,
      end.error ?? null,
      end.errorCode ?? null,
      end.atMs ?? Date.now(),
      uuid,
    );
    assert(changed === 1, `operation ${uuid} ends once`);
  }

  /** Lists operations, newest first. */
  list(query: OperationQuery): StoredOperation[] {
    const conditions = new Conditions().add('project = ?', this.#project);
    if (query.status !== undefined) conditions.add('status = ?', query.status);
    if (query.kind !== undefined) conditions.add('kind = ?', query.kind);
    if (query.since !== undefined) conditions.add('created_at >= ?', query.since.getTime());
    if (query.until !== undefined) conditions.add('created_at <= ?', query.until.getTime());
    return this.#database
      .all<OperationRow>(
        `SELECT * FROM operations${conditions.where} ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?`,
        ...conditions.values,
        query.limit ?? limits.pageDefault,
        query.offset ?? 0,
      )
      .map(stored);
  }

  /** Lists instances that stay, newest first: those that have not ended, or with `all` every one. */
  instances({
    limit,
    offset,
    all,
  }: Pick<OperationQuery, 'limit' | 'offset'> & { all?: boolean | undefined }): StoredOperation[] {
    const open = all === true ? '' : `AND status IN ${UNFINISHED}`;
    return this.#database
      .all<OperationRow>(
        `SELECT * FROM operations WHERE project = ? AND stays = 1 ${open}
         ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?`,
        this.#project,
        limit ?? limits.pageDefault,
        offset ?? 0,
      )
      .map(stored);
  }

  /** Returns the number of operations of the project by status. */
  counts(): Readonly<Record<string, number>> {
    return countByStatus(this.#database, this.#project);
  }

  #move(assignment: string, from: string, atMs: number, uuid: string): void {
    const changed = this.#database.run(
      `UPDATE operations SET ${assignment} WHERE uuid = ? AND status = ${from}`,
      atMs,
      uuid,
    );
    assert(changed === 1, `operation ${uuid} is ${from}`);
  }
}

/**
 * Returns operations of all projects that have not ended, oldest first. Right after the store is opened, they are those
 * of a dead engine.
 */
export function unfinishedOperations(database: Database): StoredOperation[] {
  return database
    .all<OperationRow>(`SELECT * FROM operations WHERE status IN ${UNFINISHED} ORDER BY created_at, rowid`)
    .map(stored);
}

/** Returns the number of operations by status, in one project or in all. */
export function countByStatus(database: Database, project?: string): Readonly<Record<string, number>> {
  const conditions = new Conditions();
  if (project !== undefined) conditions.add('project = ?', project);
  const sql = `SELECT status, count(*) AS count FROM operations${conditions.where} GROUP BY status`;
  const rows = database.all<{ status: string; count: number }>(sql, ...conditions.values);
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
}

function stored(row: OperationRow): StoredOperation {
  const status = parseValue(OperationStatus, row.status, `status of operation ${row.uuid}`);
  assert(isFinished(status) === (row.finished_at !== null), 'an end has a time');
  return {
    uuid: row.uuid,
    kind: parseValue(OperationKind, row.kind, `kind of operation ${row.uuid}`),
    status,
    request: row.request,
    image: row.image,
    stays: row.stays !== 0,
    resultImage: row.result_image,
    resultTag: row.result_tag,
    imageBytes: row.image_bytes,
    outcome: row.outcome === null ? {} : parseColumn(OperationOutcome, row.outcome, `outcome of operation ${row.uuid}`),
    error: row.error,
    errorCode: row.error_code,
    createdAtMs: row.created_at,
    startedAtMs: row.started_at,
    finishedAtMs: row.finished_at,
    outputDropped: row.output_dropped !== 0,
  };
}
