import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';

/** Facts about a file's content. */
export interface Known {
  /** Digest in hex. */
  readonly sha256: string;
  /** True when it looks like a secret. */
  readonly secret: boolean;
}

export interface CacheOptions {
  /** Path of the database with digests of files; created when missing. */
  readonly path: string;
  /** Days after which folders that were not synced are dropped. */
  readonly keptDays: number;
}

/** Cached files of one synced folder, by path below it. */
export interface CachedFolder {
  /** Returns the facts, or undefined when the file was never read or has been written since. */
  get(path: string, version: string): Known | undefined;
  /** Returns the last known digest, whatever has happened to the file since. */
  last(path: string): string | undefined;
  /** Stores the facts of a version. A `version` that no file has is visible to `last` only. */
  set(path: string, version: string, known: Known): void;
  /** Saves new entries and drops entries that were neither read nor set, because their files are gone. */
  save(): void;
}

interface Row {
  readonly path: string;
  readonly version: string;
  readonly sha256: string;
  readonly secret: number;
  readonly seen: number;
}

const FORMAT = 1;
const DAY_MS = 86_400_000;
const BUSY_MS = 1_000;

/**
 * Cache of the digests of local files, so that syncing an unchanged folder reads no file. A damaged cache is discarded,
 * a busy or unwritable one is not used.
 */
export class HashCache implements Disposable {
  readonly #database: DatabaseSync;
  readonly #keptDays: number;

  private constructor(database: DatabaseSync, keptDays: number) {
    this.#database = database;
    this.#keptDays = keptDays;
  }

  /** Opens the cache; creates the file and its folder (for this user only) when missing. */
  static open({ path, keptDays }: CacheOptions): HashCache {
    for (const [place, fresh] of [
      [path, false],
      [path, true],
      [':memory:', true],
    ] as const) {
      const database = attempt(() => openDatabase(place, fresh));
      if (database !== undefined) return new HashCache(database, keptDays);
    }
    throw new Error('a database in memory can always be opened');
  }

  /** Returns the entries below `folder`, an absolute path without symlinks. */
  folder(folder: string): CachedFolder {
    const prefix = folder.endsWith('/') ? folder : `${folder}/`;
    // In byte order the paths below a folder are a range: "0" follows "/".
    const range = [prefix, `${prefix.slice(0, -1)}0`] as const;
    const select = 'SELECT path, version, sha256, secret, seen FROM files WHERE path >= ? AND path < ?';
    const rows = attempt(() => this.#database.prepare(select).all(...range) as unknown as Row[]) ?? [];
    return new Section({ database: this.#database, prefix, keptDays: this.#keptDays }, rows);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

interface SectionPlace {
  readonly database: DatabaseSync;
  readonly prefix: string;
  readonly keptDays: number;
}

class Section implements CachedFolder {
  readonly #database: DatabaseSync;
  readonly #prefix: string;
  readonly #keptDays: number;
  readonly #rows: ReadonlyMap<string, Row>;
  readonly #today = Math.floor(Date.now() / DAY_MS);
  readonly #used = new Set<string>();
  readonly #changed = new Map<string, { readonly version: string; readonly known: Known }>();

  constructor({ database, prefix, keptDays }: SectionPlace, rows: readonly Row[]) {
    this.#database = database;
    this.#prefix = prefix;
    this.#keptDays = keptDays;
    this.#rows = new Map(rows.map((row) => [row.path, row]));
  }

  get(path: string, version: string): Known | undefined {
    const row = this.#rows.get(this.#prefix + path);
    if (row === undefined || row.version !== version) return undefined;
    this.#used.add(row.path);
    // Written rarely: once a day is enough to know what is still in use.
    const known = { sha256: row.sha256, secret: row.secret === 1 };
    if (row.seen !== this.#today) this.#changed.set(row.path, { version, known });
    return known;
  }

  last(path: string): string | undefined {
    return this.#rows.get(this.#prefix + path)?.sha256;
  }

  set(path: string, version: string, known: Known): void {
    this.#used.add(this.#prefix + path);
    this.#changed.set(this.#prefix + path, { version, known });
  }

  save(): void {
    const gone = [...this.#rows.keys()].filter((path) => !this.#used.has(path));
    if (gone.length === 0 && this.#changed.size === 0) return;
    attempt(() => {
      this.#database.exec('BEGIN IMMEDIATE');
      const saved = attempt(() => this.#write(gone));
      this.#database.exec(saved === undefined ? 'ROLLBACK' : 'COMMIT');
    });
  }

  #write(gone: readonly string[]): true {
    const remove: StatementSync = this.#database.prepare('DELETE FROM files WHERE path = ?');
    for (const path of gone) remove.run(path);
    const columns = 'path, version, sha256, secret, seen';
    const put = this.#database.prepare(`INSERT OR REPLACE INTO files (${columns}) VALUES (?, ?, ?, ?, ?)`);
    for (const [path, { version, known }] of this.#changed) {
      put.run(path, version, known.sha256, known.secret ? 1 : 0, this.#today);
    }
    this.#database.prepare('DELETE FROM files WHERE seen < ?').run(this.#today - this.#keptDays);
    return true;
  }
}

function openDatabase(path: string, fresh: boolean): DatabaseSync {
  if (path !== ':memory:') {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    if (fresh) for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
  }
  const database = new DatabaseSync(path, { timeout: BUSY_MS });
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    const { user_version: format } = database.prepare('PRAGMA user_version').get() as { user_version: number };
    if (format !== 0 && format !== FORMAT) throw new Error(`format ${format}`);
    database.exec(
      `CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, version TEXT NOT NULL, sha256 TEXT NOT NULL,
        secret INTEGER NOT NULL, seen INTEGER NOT NULL)
      STRICT, WITHOUT ROWID; CREATE INDEX IF NOT EXISTS files_seen ON files (seen); PRAGMA user_version = ${FORMAT}`,
    );
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Returns undefined when SQLite or the disk fails. */
function attempt<Value>(work: () => Value): Value | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
