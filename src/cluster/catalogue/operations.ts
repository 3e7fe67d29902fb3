import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { isUuid } from '../../contract/names.ts';
import { isFinished, OperationKind, OperationStatus, type OperationQuery } from '../../contract/operation.ts';
import { assert } from '../../std/assert.ts';
import { OperationOutcome, type OperationEnd, type StoredOperation } from '../../store/operations.ts';
import type { ClusterDatabase, Sql, SqlValue } from './database.ts';
import { epochMs, parsed } from './values.ts';

/** An operation of the cluster. */
export interface CatalogueOperation extends StoredOperation {
  readonly project: string;
  readonly token: string | null;
  /** Node that has it, or had it last. */
  readonly node: string | null;
  /** Number of nodes that have claimed it so far. */
  readonly claims: number;
  readonly cancelled: boolean;
  /** Place of its log, once it has ended and the log was put away. */
  readonly log: 'row' | { readonly object: string; readonly bytes: number } | undefined;
}

interface OperationRow {
  readonly uuid: string;
  readonly project: string;
  readonly token: string | null;
  readonly kind: string;
  readonly stays: boolean;
  readonly status: string;
  readonly request: string;
  readonly image: string | null;
  readonly node: string | null;
  readonly claims: number;
  readonly cancelled: boolean;
  readonly result_image: string | null;
  readonly result_tag: string | null;
  readonly image_bytes: number | null;
  readonly outcome: string | null;
  readonly error: string | null;
  readonly error_code: string | null;
  readonly log_kind: string | null;
  readonly log_bytes: number | null;
  readonly created_ms: number;
  readonly started_ms: number | null;
  readonly finished_ms: number | null;
}

const COLUMNS = `uuid, project, token, kind, stays, status, request, image, node, claims, cancelled, result_image, result_tag,
  image_bytes::float8 AS image_bytes, outcome, error, error_code,
  CASE WHEN log IS NOT NULL THEN 'row' ELSE log_object END AS log_kind, log_bytes::float8 AS log_bytes,
  ${epochMs('created_at')} AS created_ms, ${epochMs('started_at')} AS started_ms, ${epochMs('finished_at')} AS finished_ms`;

/** Operations of one project of a cluster. */
export class CatalogueOperations {
  readonly #database: ClusterDatabase;
  readonly #project: string;

  constructor(database: ClusterDatabase, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /** Returns an operation. Faults: OPERATION_NOT_FOUND. */
  async get(uuid: string): Promise<CatalogueOperation> {
    const found = isUuid(uuid) ? await this.#find(uuid.toLowerCase()) : undefined;
    if (found === undefined) throw fault('OPERATION_NOT_FOUND', { operation: uuid });
    return found;
  }

  /** Lists operations, newest first. */
  async list(query: OperationQuery): Promise<CatalogueOperation[]> {
    const values: SqlValue[] = [this.#project];
    const conditions = ['project = $1'];
    const add = (condition: string, value: SqlValue | undefined): void => {
      if (value === undefined) return;
      values.push(value);
      conditions.push(`${condition} $${values.length}`);
    };
    add('status =', query.status);
    add('kind =', query.kind);
    add('created_at >=', query.since?.toISOString());
    add('created_at <=', query.until?.toISOString());
    values.push(query.limit ?? limits.pageDefault, query.offset ?? 0);
    const rows = await this.#database.rows<OperationRow>(
      `SELECT ${COLUMNS} FROM operations WHERE ${conditions.join(' AND ')}
       ORDER BY id DESC LIMIT $${values.length - 1} OFFSET $${values.length}`,
      ...values,
    );
    return rows.map(operationOf);
  }

  /** Lists instances that stay, newest first: those that have not ended, or with `all` every one. */
  async instances(query: {
    limit?: number | undefined;
    offset?: number | undefined;
    all?: boolean | undefined;
  }): Promise<CatalogueOperation[]> {
    const rows = await this.#database.rows<OperationRow>(
      `SELECT ${COLUMNS} FROM operations WHERE project = $1 AND stays AND ($2 OR finished_at IS NULL)
       ORDER BY id DESC LIMIT $3 OFFSET $4`,
      this.#project,
      query.all === true,
      query.limit ?? limits.pageDefault,
      query.offset ?? 0,
    );
    return rows.map(operationOf);
  }

  /** Returns the number of operations of the project by status. */
  async counts(): Promise<Readonly<Record<string, number>>> {
    const rows = await this.#database.rows<{ status: string; count: number }>(
      'SELECT status, count(*)::float8 AS count FROM operations WHERE project = $1 GROUP BY status',
      this.#project,
    );
    return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
  }

  /** Returns the number of unfinished runs of a token. */
  async runsOf(token: string): Promise<number> {
    const [row] = await this.#database.rows<{ count: number }>(
      `SELECT count(*)::float8 AS count FROM operations
        WHERE project = $1 AND token = $2 AND kind = 'instance' AND NOT stays AND finished_at IS NULL`,
      this.#project,
      token,
    );
    return row?.count ?? 0;
  }

  /** Forgets that an operation's result may be given to equal runs, because something else acts on it. */
  async disturb(uuid: string): Promise<void> {
    await this.#database.run(
      'UPDATE operations SET reuse_key = NULL WHERE uuid = $1 AND project = $2 AND reuse_key IS NOT NULL',
      uuid,
      this.#project,
    );
  }

  /**
   * Cancels an operation: at once while it waits; otherwise its node is asked to. Faults: OPERATION_NOT_FOUND,
   * OPERATION_FINISHED.
   */
  async cancel(uuid: string): Promise<void> {
    const { status } = await this.get(uuid);
    const { message, code } = fault('OPERATION_CANCELLED', { operation: uuid.toLowerCase() });
    const changed = await this.#database.run(
      `UPDATE operations SET cancelled = true,
         status = CASE WHEN status = 'PENDING' THEN 'CANCELLED' ELSE status END,
         error = CASE WHEN status = 'PENDING' THEN $3 ELSE error END,
         error_code = CASE WHEN status = 'PENDING' THEN $4 ELSE error_code END,
         work = CASE WHEN status = 'PENDING' THEN NULL ELSE work END,
         finished_at = CASE WHEN status = 'PENDING' THEN clock_timestamp() END
        WHERE uuid = $1 AND project = $2 AND finished_at IS NULL`,
      uuid,
      this.#project,
      message,
      code,
    );
    if (changed === 0) throw fault('OPERATION_FINISHED', { operation: uuid, status });
  }

  async #find(uuid: string): Promise<CatalogueOperation | undefined> {
    const statement = `SELECT ${COLUMNS} FROM operations WHERE uuid = $1 AND project = $2`;
    const [row] = await this.#database.rows<OperationRow>(statement, uuid, this.#project);
    return row && operationOf(row);
  }
}

/** Records what an operation that goes on has published so far. Returns false when the claim is lost. */
export async function keepResult(
  sql: Sql,
  { operation, fence }: { readonly operation: string; readonly fence: number },
  kept: Omit<OperationEnd, 'status'>,
): Promise<boolean> {
  const changed = await sql.run(
    `UPDATE operations SET result_image = $3, result_tag = $4, image_bytes = $5, outcome = $6
      WHERE uuid = $1 AND fence = $2 AND finished_at IS NULL`,
    operation,
    fence,
    kept.resultImage ?? null,
    kept.resultTag ?? null,
    kept.imageBytes ?? null,
    kept.outcome === undefined ? null : JSON.stringify(kept.outcome),
  );
  return changed === 1;
}

function operationOf(row: OperationRow): CatalogueOperation {
  const status = OperationStatus.parse(row.status);
  assert(isFinished(status) === (row.finished_ms !== null), 'an end has a time');
  const what = `outcome of operation ${row.uuid}`;
  return {
    uuid: row.uuid,
    project: row.project,
    token: row.token,
    kind: OperationKind.parse(row.kind),
    status,
    request: row.request,
    image: row.image,
    stays: row.stays,
    node: row.node,
    claims: row.claims,
    cancelled: row.cancelled,
    resultImage: row.result_image,
    resultTag: row.result_tag,
    imageBytes: row.image_bytes,
    outcome: row.outcome === null ? {} : parsed(OperationOutcome, row.outcome, what),
    error: row.error,
    errorCode: row.error_code,
    log: logOf(row),
    createdAtMs: row.created_ms,
    startedAtMs: row.started_ms,
    finishedAtMs: row.finished_ms,
    outputDropped: false,
  };
}

function logOf({ log_kind: kind, log_bytes: bytes }: OperationRow): CatalogueOperation['log'] {
  if (kind === null || kind === 'row') return kind ?? undefined;
  return { object: kind, bytes: bytes ?? 0 };
}
