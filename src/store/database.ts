import { readFileSync, writeFileSync } from 'node:fs';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import type { z } from 'zod';
import { fault, isFault } from '../contract/errors.ts';
import { assert } from '../std/assert.ts';
import { diskFault, sqliteCode } from './disk.ts';
import { APPLICATION_ID, MIGRATIONS } from './schema.ts';

const SQLITE_BUSY = 5;
/** Limit of cached prepared statements; the store has fewer. */
const STATEMENTS_MAX = 256;

export interface TransactionOptions {
  /** True to wait until it is on disk, for transactions that publish something that must survive a power cut. */
  readonly durable?: boolean;
}

/**
 * The only connection to `store.sqlite`. It is opened in exclusive locking mode: the kernel holds a lock on the file
 * while this process has it open, so a second engine is refused and the lock of a dead engine is gone with it. All
 * calls are synchronous, so everything between two `await`s is atomic for the rest of the process.
 */
export class Database implements Disposable {
  readonly #sqlite: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #depth = 0;
  #durable = false;

  private constructor(sqlite: DatabaseSync) {
    this.#sqlite = sqlite;
  }

  /**
   * Opens the database. Throws STORE_LOCKED while another process has it open, STORE_VERSION_UNSUPPORTED for an unknown
   * format.
   */
  static open(path: string, lockPath: string): Database {
    const sqlite = new DatabaseSync(path, { enableForeignKeyConstraints: true });
    try {
      // First, so that the index of the log is in memory and not in a file, for which a full disk has no room.
      sqlite.exec('PRAGMA locking_mode=EXCLUSIVE');
      // Before the first pragma that writes: an unknown file is left unchanged.
      const version = readVersion(sqlite);
      // Only effective before the first table exists, and written each time; lets gc return pages to the file system.
      if (version === 0) sqlite.exec('PRAGMA auto_vacuum=INCREMENTAL');
      sqlite.exec('PRAGMA journal_mode=WAL');
      sqlite.exec('PRAGMA synchronous=NORMAL');
      // Large enough for the pages changed by one batch of small uploads; otherwise pages are spilled early.
      sqlite.exec('PRAGMA cache_size=-16384');
      // A checkpoint waits for the disk twice, on this thread, so it is kept rare.
      sqlite.exec('PRAGMA wal_autocheckpoint=8192');
      sqlite.exec('PRAGMA journal_size_limit=67108864');
      sqlite.exec('BEGIN EXCLUSIVE');
      migrate(sqlite, version);
      sqlite.exec('COMMIT');
      writePid(lockPath);
      return new Database(sqlite);
    } catch (error) {
      sqlite.close();
      if (sqliteCode(error) === SQLITE_BUSY) throw fault('STORE_LOCKED', { pid: readPid(lockPath) }, { cause: error });
      throw diskFault(error);
    }
  }

  [Symbol.dispose](): void {
    if (this.#sqlite.isOpen) this.#sqlite.close();
  }

  get open(): boolean {
    return this.#sqlite.isOpen;
  }

  /** Returns the first row, typed by the caller: the tables are STRICT, so SQLite has checked the types. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the row type is the caller's knowledge of its own SQL
  get<Row>(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#call(sql, (statement) => statement.get(...values) as Row | undefined);
  }

  all<Row>(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#call(sql, (statement) => statement.all(...values) as Row[]);
  }

  /** Executes a statement and returns the number of changed rows. */
  run(sql: string, ...values: SQLInputValue[]): number {
    return this.#call(sql, (statement) => Number(statement.run(...values).changes));
  }

  /**
   * Runs `body` in a transaction, or in the current one if there is one. `body` must be synchronous: otherwise other
   * work could write into this transaction.
   */
  transaction<Value>(body: () => Value, options: TransactionOptions = {}): Value {
    if (this.#depth > 0) {
      assert(options.durable !== true || this.#durable, 'a durable step needs a durable transaction around it');
      return body();
    }
    this.#setDurable(options.durable === true);
    this.#exec('BEGIN IMMEDIATE');
    this.#depth += 1;
    try {
      const value = body();
      assert(!(value instanceof Promise), 'a transaction never waits');
      this.#exec('COMMIT');
      return value;
    } catch (error) {
      // SQLite may have rolled back itself, on a full disk for example.
      if (this.#sqlite.isTransaction) this.#sqlite.exec('ROLLBACK');
      throw error;
    } finally {
      this.#depth -= 1;
    }
  }

  /** Returns the number of unused pages of the file. */
  unusedPages(): number {
    return this.get<{ freelist_count: number }>('PRAGMA freelist_count')?.freelist_count ?? 0;
  }

  /** Returns up to `pages` unused pages to the file system. */
  vacuum(pages: number): void {
    this.#exec(`PRAGMA incremental_vacuum(${Math.trunc(pages)})`);
  }

  /** Checkpoints the log and truncates it; the database file shrinks only then. */
  truncateLog(): void {
    this.#exec('PRAGMA wal_checkpoint(TRUNCATE)');
  }

  /** Returns the problems that SQLite finds in its file. */
  check(): string[] {
    const rows = this.all<{ integrity_check: string }>('PRAGMA integrity_check(20)');
    return rows.map((row) => row.integrity_check).filter((line) => line !== 'ok');
  }

  #setDurable(durable: boolean): void {
    if (durable === this.#durable) return;
    this.#exec(`PRAGMA synchronous=${durable ? 'FULL' : 'NORMAL'}`);
    this.#durable = durable;
  }

  #exec(sql: string): void {
    try {
      this.#sqlite.exec(sql);
    } catch (error) {
      throw diskFault(error);
    }
  }

  #call<Value>(sql: string, use: (statement: StatementSync) => Value): Value {
    try {
      let statement = this.#statements.get(sql);
      if (statement === undefined) {
        statement = this.#sqlite.prepare(sql);
        if (this.#statements.size < STATEMENTS_MAX) this.#statements.set(sql, statement);
      }
      return use(statement);
    } catch (error) {
      throw diskFault(error);
    }
  }
}

function readVersion(sqlite: DatabaseSync): number {
  const { user_version: version } = sqlite.prepare('PRAGMA user_version').get() as { user_version: number };
  const { application_id: id } = sqlite.prepare('PRAGMA application_id').get() as { application_id: number };
  const { tables } = sqlite.prepare('SELECT count(*) AS tables FROM sqlite_schema').get() as { tables: number };
  if (version > MIGRATIONS.length || (tables > 0 && id !== APPLICATION_ID)) {
    throw fault('STORE_VERSION_UNSUPPORTED', { found: version, known: MIGRATIONS.length });
  }
  return version;
}

function migrate(sqlite: DatabaseSync, version: number): void {
  if (version === MIGRATIONS.length) return;
  for (const step of MIGRATIONS.slice(version)) sqlite.exec(step);
  sqlite.exec(`PRAGMA application_id=${APPLICATION_ID}`);
  sqlite.exec(`PRAGMA user_version=${MIGRATIONS.length}`);
}

/** Notes the owner for people and messages; the lock itself is the kernel's, and is there on a full disk too. */
function writePid(lockPath: string): void {
  try {
    writeFileSync(lockPath, `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    if (!isFault(diskFault(error), 'DISK_FULL')) throw error;
  }
}

function readPid(lockPath: string): number {
  try {
    return Number.parseInt(readFileSync(lockPath, 'utf8'), 10) || 0;
  } catch {
    return 0;
  }
}

/** Parses and validates JSON of a column: the disk is not trusted. */
export function parseColumn<Schema extends z.ZodType>(schema: Schema, text: string, what: string): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw fault('STORE_CORRUPT', { what, reason: 'it is not JSON' }, { cause: error });
  }
  return parseValue(schema, value, what);
}

/** Validates the value of a column. */
export function parseValue<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.infer<Schema> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    throw fault('STORE_CORRUPT', { what, reason: parsed.error.issues[0]?.message ?? 'unexpected shape' });
  }
  return parsed.data;
}

/** Builder of a WHERE clause and its values. */
export class Conditions {
  readonly #clauses: string[] = [];
  readonly values: SQLInputValue[] = [];

  add(clause: string, ...values: SQLInputValue[]): this {
    this.#clauses.push(clause);
    this.values.push(...values);
    return this;
  }

  /** Returns ` WHERE …`, or an empty string. */
  get where(): string {
    return this.#clauses.length === 0 ? '' : ` WHERE ${this.#clauses.join(' AND ')}`;
  }
}

/** Converts milliseconds since 1970 to the time format of the API. */
export function timestamp(ms: number): string {
  return new Date(ms).toISOString();
}
