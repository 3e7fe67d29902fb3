import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';

/** What is known of a file's content. */
export interface Known {
  /** Hex. */
  readonly sha256: string;
  /** Whether it looks like a secret. */
  readonly secret: boolean;
}

export interface CacheOptions {
  /** Database in which digests of files are remembered; made when it is missing. */
  readonly path: string;
  /** Folders that nobody has synced for this many days are forgotten. */
  readonly keptDays: number;
}

/** What one synced folder holds, by path below it. */
export interface CachedFolder {
  /** Undefined when the file was never read, or was written since. */
  get(path: string, version: string): Known | undefined;
  /** Digest of the last time, whatever has happened to the file since. */
  last(path: string): string | undefined;
  /** A `version` that no file has makes `last` know it, and nothing else. */
  set(path: string, version: string, known: Known): void;
  /** Keeps what was set, and forgets what was neither got nor set: it is gone. */
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
 * Digests of local files, so that syncing an unchanged folder reads no file. Nothing but a cache: a damaged file is
 * thrown away, a busy or unwritable one not used.
 */
export class HashCache implements Disposable {
  readonly #database: DatabaseSync;
  readonly #keptDays: number;

  private constructor(database: DatabaseSync, keptDays: number) {
    this.#database = database;
    this.#keptDays = keptDays;
  }

  /** Makes the file and its folder (for this user only) when they are not there. */
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

  /** What is known below `folder`, an absolute path without symlinks. */
  folder(folder: string): CachedFolder {
    const prefix = folder.endsWith('/') ? folder : `${folder}/`;
    // In byte order the paths below a folder are a range: "0" is what follows "/".
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
    // Seldom written: once a day is enough to know what is still in use.
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

/** Undefined when SQLite or the disk does not want to. */
function attempt<Value>(work: () => Value): Value | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
