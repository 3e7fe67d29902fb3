import { randomUUID } from 'node:crypto';
import { fault } from '../../contract/errors.ts';
import type { DirectoryState, File, FileQuery, FileResponse } from '../../contract/file.ts';
import { limits } from '../../contract/limits.ts';
import { isUuid } from '../../contract/names.ts';
import type { ClusterDatabase } from './database.ts';
import { epochMs } from './values.ts';

interface FileRow {
  readonly uuid: string;
  readonly sha256: string;
  readonly size: number;
  readonly created_ms: number;
  readonly updated_ms: number;
}

/** A directory state and the object with its entries. */
export interface CatalogueState {
  readonly state: DirectoryState;
  readonly object: { readonly sha256: string; readonly bytes: number };
}

const COLUMNS = `uuid, sha256, size::float8 AS size, ${epochMs('created_at')} AS created_ms, ${epochMs('updated_at')} AS updated_ms`;

/** Uploaded files and directory states of one project of a cluster. Their contents are in the object storage. */
export class CatalogueUploads {
  readonly #database: ClusterDatabase;
  readonly #project: string;

  constructor(database: ClusterDatabase, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /** Records files whose contents are stored; the same content is one file. Returns them in the same order. */
  async record(files: readonly Pick<FileResponse, 'sha256' | 'size'>[]): Promise<FileResponse[]> {
    const unique = [...new Map(files.map((file) => [file.sha256, file])).values()].toSorted((left, right) =>
      left.sha256 < right.sha256 ? -1 : 1,
    );
    const rows = await this.#database.rows<{ uuid: string; sha256: string; size: number }>(
      `INSERT INTO files (project, sha256, uuid, size)
       SELECT $1, * FROM unnest($2::text[], $3::uuid[], $4::bigint[])
       ON CONFLICT (project, sha256) DO UPDATE SET updated_at = now()
       RETURNING uuid, sha256, size::float8 AS size`,
      this.#project,
      unique.map(({ sha256 }) => sha256),
      unique.map(() => randomUUID()),
      unique.map(({ size }) => String(size)),
    );
    const known = new Map(rows.map((row) => [row.sha256, row]));
    return files.flatMap(({ sha256 }) => known.get(sha256) ?? []);
  }

  /** Returns a file by sha256 (hex) or UUID. Faults: UPLOAD_NOT_FOUND. */
  async get(id: string): Promise<File> {
    const [row] = await this.#database.rows<FileRow>(
      `SELECT ${COLUMNS} FROM files WHERE project = $1 AND ${isUuid(id) ? 'uuid' : 'sha256'} = $2`,
      this.#project,
      id.toLowerCase(),
    );
    if (row === undefined) throw fault('UPLOAD_NOT_FOUND', { file: id });
    return wire(row);
  }

  async list(query: FileQuery): Promise<File[]> {
    const rows = await this.#database.rows<FileRow>(
      `SELECT ${COLUMNS} FROM files WHERE project = $1
         AND ($2::timestamptz IS NULL OR updated_at >= $2) AND ($3::timestamptz IS NULL OR updated_at <= $3)
       ORDER BY updated_at DESC, id DESC LIMIT $4 OFFSET $5`,
      this.#project,
      query.since?.toISOString() ?? null,
      query.until?.toISOString() ?? null,
      query.limit ?? limits.pageDefault,
      query.offset ?? 0,
    );
    return rows.map(wire);
  }

  /** Returns those of the digests that no file of the project has. */
  async missing(sha256s: readonly string[]): Promise<string[]> {
    const rows = await this.#database.rows<{ sha256: string }>(
      `SELECT wanted.sha256 FROM unnest($2::text[]) AS wanted (sha256)
       WHERE NOT EXISTS (SELECT FROM files WHERE project = $1 AND files.sha256 = wanted.sha256)`,
      this.#project,
      sha256s,
    );
    return rows.map(({ sha256 }) => sha256);
  }

  /** Records a directory state whose entries are an object. */
  async recordState(state: DirectoryState, object: CatalogueState['object']): Promise<void> {
    await this.#database.run(
      `INSERT INTO states (project, id, object, object_bytes, entries, bytes) VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT (project, id) DO NOTHING`,
      this.#project,
      state.id,
      object.sha256,
      object.bytes,
      state.entries,
      state.bytes,
    );
  }

  /** Returns a directory state. Faults: DIRECTORY_STATE_NOT_FOUND. */
  async state(id: string): Promise<CatalogueState> {
    const [row] = await this.#database.rows<{
      object: string;
      object_bytes: number;
      entries: number;
      bytes: number;
      created_ms: number;
    }>(
      `SELECT object, object_bytes::float8 AS object_bytes, entries::float8 AS entries, bytes::float8 AS bytes,
         ${epochMs('created_at')} AS created_ms FROM states WHERE project = $1 AND id = $2`,
      this.#project,
      id,
    );
    if (row === undefined) throw fault('DIRECTORY_STATE_NOT_FOUND', { state: id });
    const { entries, bytes } = row;
    return {
      state: { id, entries, bytes, created_at: new Date(row.created_ms).toISOString() },
      object: { sha256: row.object, bytes: row.object_bytes },
    };
  }
}

function wire(row: FileRow): File {
  return {
    uuid: row.uuid,
    sha256: row.sha256,
    size: row.size,
    created_at: new Date(row.created_ms).toISOString(),
    updated_at: new Date(row.updated_ms).toISOString(),
  };
}
