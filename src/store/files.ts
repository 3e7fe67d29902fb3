import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../contract/errors.ts';
import type { File, FileQuery, FileResponse } from '../contract/file.ts';
import { isUuid } from '../contract/image.ts';
import { limits } from '../contract/limits.ts';
import { defined } from '../std/assert.ts';
import { Conditions, timestamp, type Database } from './database.ts';
import { isMissing, writing } from './disk.ts';
import type { Holds } from './holds.ts';

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

  constructor(database: Database, holds: Holds, directories: { readonly files: string; readonly tmp: string }) {
    this.#database = database;
    this.#holds = holds;
    this.#directory = directories.files;
    this.#tmp = directories.tmp;
  }

  /** Stores a body; the same content twice is one file. Rejects with FILE_TOO_LARGE or DISK_FULL and keeps nothing. */
  async write(body: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse> {
    const path = join(this.#tmp, `upload-${randomUUID()}`);
    try {
      const { sha256, size } = await writing(() => receive(body, path, signal));
      this.#holds.touch(sha256);
      await rename(path, this.pathOf(sha256));
      return this.#record(sha256, size);
    } finally {
      await rm(path, { force: true });
    }
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
    if (row === undefined || !(await this.isWhole(row.sha256))) throw fault('UPLOAD_NOT_FOUND', { file: id });
    const hash = createHash('sha256');
    try {
      const stream = createReadStream(this.pathOf(row.sha256), { highWaterMark: 256 * 1024, signal });
      for await (const chunk of stream) {
        hash.update(chunk as Uint8Array);
        yield chunk as Uint8Array;
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    if (hash.digest('hex') === row.sha256) return;
    this.forget(row.sha256);
    throw fault('UPLOAD_NOT_FOUND', { file: id });
  }

  /** Whether the file is there in its full length; one that is not is forgotten. */
  async isWhole(sha256: string): Promise<boolean> {
    const row = this.#row(sha256);
    if (row === undefined) return false;
    const stats = await stat(this.pathOf(sha256)).catch(() => undefined);
    if (stats?.size === row.size) return true;
    this.forget(sha256);
    return false;
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

  #row(id: string): FileRow | undefined {
    const column = isUuid(id) ? 'uuid' : 'sha256';
    const row = this.#database.get<FileRow>(`SELECT * FROM files WHERE ${column} = ?`, id.toLowerCase());
    if (row !== undefined) this.#holds.touch(row.sha256);
    return row;
  }

  #record(sha256: string, size: number): FileResponse {
    const nowMs = Date.now();
    this.#database.run(
      `INSERT INTO files (sha256, uuid, size, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (sha256) DO UPDATE SET updated_at = excluded.updated_at`,
      sha256,
      randomUUID(),
      size,
      nowMs,
      nowMs,
    );
    const { uuid } = this.get(sha256);
    return { uuid, sha256, size };
  }

  /** Where the content is, for readers that need it in another order; `isWhole` tells whether it can be there. */
  pathOf(sha256: string): string {
    return join(this.#directory, sha256);
  }
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
