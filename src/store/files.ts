import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../contract/errors.ts';
import type { File, FileQuery, FileResponse } from '../contract/file.ts';
import { isUuid } from '../contract/image.ts';
import { limits } from '../contract/limits.ts';
import { defined } from '../std/assert.ts';
import { Conditions, timestamp, type Database } from './database.ts';
import { diskFault, isMissing, writing } from './disk.ts';
import type { Holds } from './holds.ts';

/** Files up to this size are read and written in one step. */
const SMALL_BYTES = 128 * 1024;
const CHUNK_BYTES = 256 * 1024;

/** A file as directory states refer to it. */
export interface StoredFile {
  /** Number in the database. */
  readonly id: number;
  readonly size: number;
}

interface FileRow {
  readonly id: number;
  readonly sha256: string;
  readonly uuid: string;
  readonly size: number;
  readonly created_at: number;
  readonly updated_at: number;
}

/**
 * Uploaded files, one per content.
 *
 * They are not fsynced (an rsync of thousands of small files would wait for the disk thousands of times): after a power
 * cut one may be torn, which `open` notices, because it hashes what it reads, and then forgets the file so that the
 * client uploads it again.
 */
export class FileStore {
  readonly #database: Database;
  readonly #holds: Holds;
  readonly #directory: string;
  readonly #tmp: string;
  readonly #unrecorded: { readonly sha256: string; readonly size: number }[] = [];
  #recording: Promise<void> | undefined;

  constructor(database: Database, holds: Holds, directories: { readonly files: string; readonly tmp: string }) {
    this.#database = database;
    this.#holds = holds;
    this.#directory = directories.files;
    this.#tmp = directories.tmp;
  }

  /** Stores a body; the same content twice is one file. Rejects with FILE_TOO_LARGE or DISK_FULL and keeps nothing. */
  async write(body: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse> {
    const iterator = body[Symbol.asyncIterator]();
    try {
      const { head, ended } = await readHead(iterator, signal);
      const path = join(this.#tmp, `upload-${randomUUID()}`);
      return ended
        ? await this.#writeSmall(head, path)
        : await this.#writeLarge(followed(head, iterator), path, signal);
    } finally {
      await iterator.return?.();
    }
  }

  /** As `write` for many small files, each one chunk of at most `limits.bulkFileBytesMax`. Answers in their order. */
  async writeMany(files: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse[]> {
    const writing: Promise<FileResponse>[] = [];
    try {
      for await (const bytes of files) {
        signal?.throwIfAborted();
        // Written when this returns; what it still waits for is shared with its neighbours.
        writing.push(this.#writeSmall(bytes, join(this.#tmp, `upload-${randomUUID()}`)));
      }
    } finally {
      await Promise.allSettled(writing);
    }
    return await Promise.all(writing);
  }

  /** By sha256 (hex) or uuid. */
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
    const conditions = new Conditions();
    if (query.since !== undefined) conditions.add('updated_at >= ?', query.since.getTime());
    if (query.until !== undefined) conditions.add('updated_at <= ?', query.until.getTime());
    return this.#database
      .all<FileRow>(
        `SELECT * FROM files${conditions.where} ORDER BY updated_at DESC, id DESC LIMIT ? OFFSET ?`,
        ...conditions.values,
        query.limit ?? limits.pageDefault,
        query.offset ?? 0,
      )
      .map(wire);
  }

  /**
   * Content of a file, checked against its digest while it is read. A file that is torn or gone is forgotten, and the
   * reader gets UPLOAD_NOT_FOUND.
   */
  async *open(id: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const row = this.#row(id);
    if (row === undefined || !this.isWhole(row.sha256)) throw fault('UPLOAD_NOT_FOUND', { file: id });
    const hash = createHash('sha256');
    try {
      for await (const chunk of this.#read(row, signal)) {
        hash.update(chunk);
        yield chunk;
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    if (hash.digest('hex') === row.sha256) return;
    this.forget(row.sha256);
    throw fault('UPLOAD_NOT_FOUND', { file: id });
  }

  /** Whether the file is there in its full length; one that is not is forgotten. */
  isWhole(sha256: string): boolean {
    return this.findWhole(sha256) !== undefined;
  }

  /** The file if it is there in its full length; one that is not is forgotten. */
  findWhole(sha256: string): StoredFile | undefined {
    const row = this.#row(sha256);
    if (row === undefined) return undefined;
    const stats = statSync(this.pathOf(row.sha256), { throwIfNoEntry: false });
    if (stats?.size === row.size) return { id: row.id, size: row.size };
    this.forget(row.sha256);
    return undefined;
  }

  /** Drops a file and the directory states that need it. */
  forget(sha256: string): void {
    this.#database.transaction(() => {
      const states = 'SELECT state FROM state_files JOIN files ON files.id = file WHERE sha256 = ?';
      this.#database.run(`DELETE FROM states WHERE id IN (${states})`, sha256);
      this.#database.run('DELETE FROM files WHERE sha256 = ?', sha256);
    });
  }

  usage(): { readonly count: number; readonly bytes: number } {
    const sql = 'SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes FROM files';
    const { count, bytes } = defined(
      this.#database.get<{ count: number; bytes: number }>(sql),
      'an aggregate has a row',
    );
    return { count, bytes };
  }

  /** Thousands of small files go through here at once, where waiting for each step would cost more than the steps. */
  async #writeSmall(bytes: Uint8Array, path: string): Promise<FileResponse> {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    this.#holds.touch(sha256);
    try {
      writeFileSync(path, bytes, { mode: 0o600 });
      renameSync(path, this.pathOf(sha256));
    } catch (error) {
      rmSync(path, { force: true });
      throw diskFault(error);
    }
    return await this.#record(sha256, bytes.byteLength);
  }

  async #writeLarge(body: AsyncIterable<Uint8Array>, path: string, signal?: AbortSignal): Promise<FileResponse> {
    try {
      const { sha256, size } = await writing(() => receive(body, path, signal));
      this.#holds.touch(sha256);
      await rename(path, this.pathOf(sha256));
      return await this.#record(sha256, size);
    } finally {
      await rm(path, { force: true });
    }
  }

  async *#read({ sha256, size }: FileRow, signal: AbortSignal): AsyncIterable<Uint8Array> {
    signal.throwIfAborted();
    if (size <= SMALL_BYTES) yield readFileSync(this.pathOf(sha256));
    else yield* createReadStream(this.pathOf(sha256), { highWaterMark: CHUNK_BYTES, signal });
  }

  #row(id: string): FileRow | undefined {
    const column = isUuid(id) ? 'uuid' : 'sha256';
    const row = this.#database.get<FileRow>(`SELECT * FROM files WHERE ${column} = ?`, id.toLowerCase());
    if (row !== undefined) this.#holds.touch(row.sha256);
    return row;
  }

  /** Resolves once the file is known; what is written at the same time shares a transaction. */
  async #record(sha256: string, size: number): Promise<FileResponse> {
    this.#unrecorded.push({ sha256, size });
    this.#recording ??= new Promise(setImmediate).then(() => this.#recordAll());
    await this.#recording;
    const { uuid } = this.get(sha256);
    return { uuid, sha256, size };
  }

  #recordAll(): void {
    this.#recording = undefined;
    const files = this.#unrecorded.splice(0);
    const nowMs = Date.now();
    const sql = `INSERT INTO files (sha256, uuid, size, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (sha256) DO UPDATE SET updated_at = excluded.updated_at`;
    this.#database.transaction(() => {
      for (const { sha256, size } of files) this.#database.run(sql, sha256, randomUUID(), size, nowMs, nowMs);
    });
  }

  /** Where the content is, for readers that need it in another order; `isWhole` tells whether it can be there. */
  pathOf(sha256: string): string {
    return join(this.#directory, sha256);
  }
}

/** The start of a body; all of it when it is small. */
async function readHead(
  iterator: AsyncIterator<Uint8Array>,
  signal?: AbortSignal,
): Promise<{ readonly head: Buffer; readonly ended: boolean }> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  while (bytes <= SMALL_BYTES) {
    signal?.throwIfAborted();
    const next = await iterator.next();
    if (next.done === true) return { head: Buffer.concat(chunks), ended: true };
    chunks.push(next.value);
    bytes += next.value.byteLength;
  }
  return { head: Buffer.concat(chunks), ended: false };
}

async function* followed(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  yield head;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
}

async function receive(
  body: AsyncIterable<Uint8Array>,
  path: string,
  signal?: AbortSignal,
): Promise<{ readonly sha256: string; readonly size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  const handle = await open(path, 'wx', 0o600);
  try {
    for await (const chunk of body) {
      signal?.throwIfAborted();
      size += chunk.byteLength;
      if (size > limits.uploadBytesMax) {
        throw fault('FILE_TOO_LARGE', { path: 'upload', bytes: size, limit: limits.uploadBytesMax });
      }
      hash.update(chunk);
      await handle.writeFile(chunk);
    }
  } finally {
    await handle.close();
  }
  return { sha256: hash.digest('hex'), size };
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
