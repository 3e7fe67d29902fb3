import { hash, randomUUID } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../contract/errors.ts';
import type { File, FileQuery, FileResponse } from '../contract/file.ts';
import { isUuid } from '../contract/names.ts';
import { limits } from '../contract/limits.ts';
import { defined } from '../std/assert.ts';
import { Conditions, timestamp, type Database } from './database.ts';
import { isMissing, writing } from './disk.ts';
import type { Holds } from './gc/holds.ts';
import type { StoreParts } from './parts.ts';
import { hashStream, matching, readHead, StreamDigest, withHead } from '../std/streams.ts';

/** Largest content stored in the database: creating a file costs many times more than its bytes. */
const SMALL_BYTES = limits.bulkFileBytesMax;
const CHUNK_BYTES = 256 * 1024;
/** Bytes of small files per transaction: each transaction rewrites the same index pages. */
const BATCH_BYTES = 4 * 1024 * 1024;

/** A file as directory states refer to it. */
export interface StoredFile {
  /** Number in the database. */
  readonly id: number;
  readonly size: number;
}

/** File of a cluster's catalogue. */
export interface SharedFile {
  readonly uuid: string;
  readonly sha256: string;
  readonly size: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Returns the bytes of a file that is not here. */
export type FetchFile = (file: SharedFile, signal: AbortSignal) => AsyncIterable<Uint8Array>;

interface FileRow {
  readonly id: number;
  /** 1 when the content is in the database, 0 when it is a separate file. */
  readonly inside: number;
  readonly sha256: string;
  readonly uuid: string;
  readonly size: number;
  readonly created_at: number;
  readonly updated_at: number;
}

/** Content to be recorded in the database. */
interface NewFile {
  readonly sha256: string;
  readonly size: number;
  /** Content; undefined when it is a separate file. */
  readonly bytes?: Uint8Array;
}

/**
 * Uploaded files of one project, one per content: small ones in the database, large ones as files named by their digest
 * and shared by all projects. A client cannot find out that another project has the same content. Files are not fsynced
 * (an rsync would wait for the disk again and again): after a power cut the last ones may be missing, and a large one
 * torn. `open` detects that because it hashes while reading, and drops the file so that the client uploads it again.
 */
export class FileStore {
  readonly #database: Database;
  readonly #holds: Holds;
  readonly #parts: StoreParts;
  readonly #project: string;
  readonly #unrecorded: NewFile[] = [];
  #recording: Promise<ReadonlyMap<string, FileResponse>> | undefined;

  constructor(parts: StoreParts, project: string) {
    this.#database = parts.database;
    this.#holds = parts.holds;
    this.#parts = parts;
    this.#project = project;
  }

  /** Stores a body; equal contents are stored once. Rejects with FILE_TOO_LARGE or DISK_FULL and keeps nothing. */
  async write(body: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse> {
    const iterator = body[Symbol.asyncIterator]();
    try {
      const head = await readHead(iterator, SMALL_BYTES + 1, signal);
      return head.ended
        ? await this.#record(small(head.bytes))
        : await this.#writeLarge(withHead(head, iterator), signal);
    } finally {
      await iterator.return?.();
    }
  }

  /**
   * Stores many small files, each one chunk of at most `limits.bulkFileBytesMax`. Returns the files in the same order.
   */
  async writeMany(files: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse[]> {
    const answers: FileResponse[] = [];
    let batch: NewFile[] = [];
    let bytes = 0;
    const record = (): void => {
      answers.push(...this.#recordAll(batch));
      [batch, bytes] = [[], 0];
    };
    for await (const content of files) {
      signal?.throwIfAborted();
      batch.push(small(content));
      bytes += content.byteLength;
      if (bytes >= BATCH_BYTES) record();
    }
    record();
    return answers;
  }

  /** Returns a file by sha256 (hex) or UUID. */
  find(id: string): File | undefined {
    const row = this.#row(id);
    return row && wire(row);
  }

  get(id: string): File {
    const file = this.find(id);
    if (file === undefined) throw fault('UPLOAD_NOT_FOUND', { file: id });
    return file;
  }

  list(query: FileQuery): File[] {
    const conditions = new Conditions().add('project = ?', this.#project);
    if (query.since !== undefined) conditions.add('updated_at >= ?', query.since.getTime());
    if (query.until !== undefined) conditions.add('updated_at <= ?', query.until.getTime());
    return this.#database
      .all<FileRow>(
        `${SELECT}${conditions.where} ORDER BY updated_at DESC, id DESC LIMIT ? OFFSET ?`,
        ...conditions.values,
        query.limit ?? limits.pageDefault,
        query.offset ?? 0,
      )
      .map(wire);
  }

  /**
   * Streams the content of a file and verifies its digest. A torn or missing file is dropped, and the reader gets
   * UPLOAD_NOT_FOUND.
   */
  async *open(id: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const row = this.#row(id);
    if (row === undefined || !this.isWhole(row.sha256)) throw fault('UPLOAD_NOT_FOUND', { file: id });
    const digest = new StreamDigest();
    try {
      yield* digest.through(this.#read(row, signal));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    if (digest.sha256() === row.sha256) return;
    this.forget(row.sha256);
    throw fault('UPLOAD_NOT_FOUND', { file: id });
  }

  /** Reports whether the file exists in its full length; drops it otherwise. */
  isWhole(sha256: string): boolean {
    return this.findWhole(sha256) !== undefined;
  }

  /** Returns the file if it exists in its full length; drops it otherwise. */
  findWhole(sha256: string): StoredFile | undefined {
    const row = this.#row(sha256);
    if (row === undefined) return undefined;
    if (row.inside === 1) return { id: row.id, size: row.size };
    const stats = statSync(this.#pathOf(row.sha256), { throwIfNoEntry: false });
    if (stats?.size === row.size) return { id: row.id, size: row.size };
    this.forget(row.sha256);
    return undefined;
  }

  /**
   * Returns a path to the content, for random access; content in the database is written to a file first. Rejects with
   * UPLOAD_NOT_FOUND when it is not complete.
   */
  async asFile(id: string): Promise<string> {
    const row = this.#row(id);
    if (row === undefined || !this.isWhole(row.sha256)) throw fault('UPLOAD_NOT_FOUND', { file: id });
    const path = this.#pathOf(row.sha256);
    if (row.inside === 0) return path;
    const temporary = this.#temporary();
    try {
      await writing(async () => {
        await writeFile(temporary, this.#bytesOf(row), { mode: 0o600 });
        await this.#place(temporary, row.sha256);
      });
      return path;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /**
   * Stores a file of a cluster's catalogue under its UUID there. Its bytes come from elsewhere, unless they are here, and only
   * those that its digest names are kept. Rejects with OBJECT_DAMAGED, DISK_FULL and the faults of `fetch`.
   */
  async adopt(file: SharedFile, fetch: FetchFile, signal: AbortSignal): Promise<void> {
    const { uuid, sha256, size, createdAtMs, updatedAtMs } = file;
    if (!this.isWhole(sha256)) {
      const damaged = (reason: string): Error => fault('OBJECT_DAMAGED', { key: `file ${sha256}`, reason });
      await this.write(matching(fetch(file, signal), { sha256, bytes: size }, damaged), signal);
    }
    this.#database.run(
      `UPDATE files SET uuid = ?, created_at = ?, updated_at = max(updated_at, ?) WHERE sha256 = ? AND project = ?`,
      uuid,
      createdAtMs,
      updatedAtMs,
      sha256,
      this.#project,
    );
  }

  /** Drops a file whose content is damaged or missing, and the directory states that need it, in every project. */
  forget(sha256: string): void {
    this.#database.transaction(() => {
      const states = 'SELECT state FROM state_files JOIN files ON files.id = file WHERE sha256 = ?';
      this.#database.run(`DELETE FROM states WHERE id IN (${states})`, sha256);
      this.#database.run('DELETE FROM files WHERE sha256 = ?', sha256);
    });
  }

  /** Hashes the contents of all projects, drops damaged ones, and yields their sha256. */
  async *verify(signal: AbortSignal): AsyncIterable<string> {
    for (const row of this.#database.all<FileRow>(`${SELECT} GROUP BY sha256 ORDER BY id`)) {
      if (await this.#isIntact(row, signal)) continue;
      this.forget(row.sha256);
      yield row.sha256;
    }
  }

  /** Returns the usage by contents of all projects, each counted once. */
  usage(): { readonly count: number; readonly bytes: number } {
    const contents = 'SELECT sha256, max(size) AS size FROM files GROUP BY sha256';
    const sql = `SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes FROM (${contents})`;
    const { count, bytes } = defined(
      this.#database.get<{ count: number; bytes: number }>(sql),
      'an aggregate has a row',
    );
    return { count, bytes };
  }

  async #writeLarge(body: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse> {
    const path = this.#temporary();
    try {
      const { sha256, size } = await writing(() => receive(body, path, signal));
      this.#holds.touch(sha256);
      await writing(() => this.#place(path, sha256));
      return await this.#record({ sha256, size });
    } finally {
      await rm(path, { force: true });
    }
  }

  async #isIntact(row: FileRow, signal: AbortSignal): Promise<boolean> {
    try {
      return (await hashStream(this.#read(row, signal))).sha256 === row.sha256;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async *#read(row: FileRow, signal: AbortSignal): AsyncIterable<Uint8Array> {
    signal.throwIfAborted();
    if (row.inside === 1) yield this.#bytesOf(row);
    else yield* createReadStream(this.#pathOf(row.sha256), { highWaterMark: CHUNK_BYTES, signal });
  }

  #bytesOf({ id }: FileRow): Uint8Array {
    const sql = 'SELECT bytes FROM file_contents WHERE file = ?';
    return this.#database.get<{ bytes: Uint8Array }>(sql, id)?.bytes ?? Buffer.alloc(0);
  }

  #row(id: string): FileRow | undefined {
    const column = isUuid(id) ? 'uuid' : 'sha256';
    const row = this.#database.get<FileRow>(
      `${SELECT} WHERE ${column} = ? AND project = ?`,
      id.toLowerCase(),
      this.#project,
    );
    if (row !== undefined) this.#holds.touch(row.sha256);
    return row;
  }

  /** Records a file; concurrent calls share a transaction. */
  async #record(file: NewFile): Promise<FileResponse> {
    this.#unrecorded.push(file);
    this.#recording ??= new Promise(setImmediate).then(() => {
      this.#recording = undefined;
      const files = this.#unrecorded.splice(0);
      return new Map(this.#recordAll(files).map((answer) => [answer.sha256, answer]));
    });
    return defined((await this.#recording).get(file.sha256), 'every file that is recorded has an answer');
  }

  #recordAll(files: readonly NewFile[]): FileResponse[] {
    const nowMs = Date.now();
    const name = `INSERT INTO files (project, sha256, uuid, size, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT (sha256, project) DO UPDATE SET updated_at = excluded.updated_at RETURNING id, uuid`;
    const keep = 'INSERT OR IGNORE INTO file_contents (file, bytes) VALUES (?, ?)';
    return this.#database.transaction(() =>
      files.map(({ sha256, size, bytes }) => {
        this.#holds.touch(sha256);
        const values = [this.#project, sha256, randomUUID(), size, nowMs, nowMs];
        const row = defined(this.#database.get<{ id: number; uuid: string }>(name, ...values), 'an upsert has a row');
        if (bytes !== undefined) this.#database.run(keep, row.id, bytes);
        return { uuid: row.uuid, sha256, size };
      }),
    );
  }

  #temporary(): string {
    return join(this.#parts.folder('tmp'), `upload-${randomUUID()}`);
  }

  async #place(temporary: string, sha256: string): Promise<void> {
    await rename(temporary, join(this.#parts.folder('files'), sha256));
  }

  #pathOf(sha256: string): string {
    return join(this.#parts.directory, 'files', sha256);
  }
}

const SELECT = 'SELECT *, EXISTS (SELECT 1 FROM file_contents WHERE file = files.id) AS inside FROM files';

function small(bytes: Uint8Array): NewFile {
  return { sha256: hash('sha256', bytes, 'hex'), size: bytes.byteLength, bytes };
}

async function receive(
  body: AsyncIterable<Uint8Array>,
  path: string,
  signal?: AbortSignal,
): Promise<{ readonly sha256: string; readonly size: number }> {
  const digest = new StreamDigest();
  const limit = limits.uploadBytesMax;
  await using file = await open(path, 'wx', 0o600);
  for await (const chunk of digest.through(body)) {
    signal?.throwIfAborted();
    if (digest.bytes > limit) throw fault('FILE_TOO_LARGE', { path: 'upload', bytes: digest.bytes, limit });
    await file.writeFile(chunk);
  }
  return { sha256: digest.sha256(), size: digest.bytes };
}

function wire(row: FileRow): File {
  return {
    uuid: row.uuid,
    sha256: row.sha256,
    size: row.size,
    created_at: timestamp(row.created_at),
    updated_at: timestamp(row.updated_at),
  };
}
