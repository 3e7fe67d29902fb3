import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdCompress, zstdDecompressSync } from 'node:zlib';
import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import { DirectoryStateEntry, type DirectoryState, type DirectoryStateResponse } from '../contract/file.ts';
import { limits } from '../contract/limits.ts';
import { DEFAULT_PROJECT } from '../contract/names.ts';
import { parseColumn, timestamp, type Database } from './database.ts';
import type { FileStore, StoredFile } from './files.ts';
import type { Holds } from './gc/holds.ts';
import type { StoreParts } from './parts.ts';

interface StateRow {
  readonly id: string;
  readonly entries: number;
  readonly bytes: number;
  readonly content: Uint8Array;
  readonly created_at: number;
}

interface NewState {
  readonly id: string;
  readonly entries: readonly DirectoryStateEntry[];
  /** Stored form of the entries: compressed JSON. */
  readonly content: Uint8Array;
  readonly files: ReadonlyMap<string, StoredFile>;
}

/** Entries processed before yielding to other work: a hundred thousand of them take seconds. */
const PER_TURN = 1_000;

const compress = promisify(zstdCompress);

const SHA256 = /^[0-9a-f]{64}$/u;

/** Directory states of one project: immutable synced sets of files, named by their content. */
export class StateStore {
  readonly #database: Database;
  readonly #holds: Holds;
  readonly #files: FileStore;
  readonly #project: string;

  constructor({ database, holds }: StoreParts, project: string, files: FileStore) {
    this.#database = database;
    this.#holds = holds;
    this.#files = files;
    this.#project = project;
  }

  /** Creates the state if the store has every content it refers to; otherwise returns the sha256 of missing ones. */
  async offer(entries: readonly DirectoryStateEntry[]): Promise<DirectoryStateResponse> {
    const sorted = await normalize(entries);
    const content = await serialize(sorted);
    const id = idOf(this.#project, content);
    if (this.#row(id) !== undefined) return { state: this.get(id).state, missing: [] };
    const files = new Map<string, StoredFile>();
    const missing: string[] = [];
    for (const sha256 of new Set(sorted.flatMap((entry) => entry.sha256 ?? []))) {
      const file = this.#files.findWhole(sha256);
      if (file === undefined) missing.push(sha256);
      else files.set(sha256, file);
      if ((files.size + missing.length) % PER_TURN === 0) await new Promise(setImmediate);
    }
    if (missing.length > 0) return { missing };
    const compressed = await compress(content);
    return { state: this.#create({ id, entries: sorted, content: compressed, files }), missing: [] };
  }

  /** Holds a state from then on. Throws DIRECTORY_STATE_NOT_FOUND when it does not exist. */
  ensure(id: string): void {
    if (this.#row(id) === undefined) throw fault('DIRECTORY_STATE_NOT_FOUND', { state: id });
    this.#holds.touch(id);
  }

  /** Returns a state and its entries, ordered by path. Throws DIRECTORY_STATE_NOT_FOUND. */
  get(id: string): { readonly state: DirectoryState; readonly entries: readonly DirectoryStateEntry[] } {
    const row = this.#row(id);
    if (row === undefined) throw fault('DIRECTORY_STATE_NOT_FOUND', { state: id });
    this.#holds.touch(row.id);
    this.#database.run('UPDATE states SET used_at = ? WHERE id = ?', Date.now(), row.id);
    const text = zstdDecompressSync(row.content, { maxOutputLength: limits.metadataBytesMax }).toString('utf8');
    const entries = parseColumn(z.array(DirectoryStateEntry), text, `directory state ${row.id}`);
    return { state: describe(row), entries };
  }

  #row(id: string): StateRow | undefined {
    return this.#database.get<StateRow>('SELECT * FROM states WHERE id = ? AND project = ?', id, this.#project);
  }

  #create({ id, entries, content, files }: NewState): DirectoryState {
    const nowMs = Date.now();
    const bytes = entries.reduce((sum, { sha256 }) => sum + (files.get(sha256 ?? '')?.size ?? 0), 0);
    const row = { id, entries: entries.length, bytes, created_at: nowMs };
    return this.#database.transaction(() => {
      this.#database.run(
        `INSERT OR IGNORE INTO states (id, project, entries, bytes, content, created_at, used_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)`,
        id,
        this.#project,
        row.entries,
        bytes,
        content,
        nowMs,
        nowMs,
      );
      this.#database.run(
        'INSERT OR IGNORE INTO state_files (state, file) SELECT ?, value FROM json_each(?)',
        id,
        JSON.stringify([...files.values()].map((file) => file.id)),
      );
      return describe(row);
    });
  }
}

/**
 * Returns the first 16 bytes of the content's sha256 as a version 8 UUID, which is short enough for a model to type.
 * The same content has another id in each project, so an id reveals nothing about other projects.
 */
function idOf(project: string, content: string): string {
  const salt = project === DEFAULT_PROJECT ? '' : `${project}\n`;
  const bytes = createHash('sha256').update(salt).update(content).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/u, '$1-$2-$3-$4-$5');
}

/**
 * Validates the entries and returns them ordered by path and with a fixed order of fields, so that equal sets have
 * equal ids.
 */
async function normalize(entries: readonly DirectoryStateEntry[]): Promise<DirectoryStateEntry[]> {
  if (entries.length > limits.directoryStateEntriesMax) {
    throw fault('LAYER_LIMIT', { what: 'entries in a directory state', limit: limits.directoryStateEntriesMax });
  }
  const byPath = new Map<string, DirectoryStateEntry>();
  for (const entry of entries) {
    checkEntry(entry);
    if (byPath.has(entry.path)) throw fault('PATH_INVALID', { path: entry.path, reason: 'it is listed twice' });
    if (byPath.size % PER_TURN === PER_TURN - 1) await new Promise(setImmediate);
    const { path, sha256, symlink_to, mode, uid, gid, mtime } = entry;
    byPath.set(path, {
      path,
      ...(sha256 !== undefined && { sha256 }),
      ...(symlink_to !== undefined && { symlink_to }),
      mode,
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
      ...(mtime !== undefined && { mtime }),
    });
  }
  return [...byPath.values()].sort((left, right) => (left.path < right.path ? -1 : 1));
}

/** Returns the same text as `JSON.stringify`, but yields to other work in between. */
async function serialize(entries: readonly DirectoryStateEntry[]): Promise<string> {
  const pieces: string[] = [];
  for (let at = 0; at < entries.length; at += PER_TURN) {
    pieces.push(JSON.stringify(entries.slice(at, at + PER_TURN)).slice(1, -1));
    await new Promise(setImmediate);
  }
  return `[${pieces.join(',')}]`;
}

function checkEntry({ path, sha256, symlink_to: target }: DirectoryStateEntry): void {
  const reason = pathProblem(path);
  if (reason !== undefined) throw fault('PATH_INVALID', { path, reason });
  if (sha256 !== undefined && target !== undefined) {
    throw fault('PATH_INVALID', { path, reason: 'it cannot be a file and a symbolic link' });
  }
  if (sha256 !== undefined && !SHA256.test(sha256)) throw fault('UPLOAD_NOT_FOUND', { file: sha256 });
  if (target !== undefined && (target === '' || target.includes('\0') || target.length > limits.pathBytesMax)) {
    throw fault('PATH_INVALID', { path, reason: 'the target of the symbolic link is not a path' });
  }
}

/** Returns the reason why a path cannot be injected into an image, or undefined. */
export function pathProblem(path: string): string | undefined {
  if (!path.startsWith('/')) return 'it is not absolute';
  if (path.includes('\0')) return 'it contains a NUL byte';
  if (Buffer.byteLength(path) > limits.pathBytesMax) return `it is longer than ${limits.pathBytesMax} bytes`;
  const names = path.split('/').slice(1);
  if (names.length > limits.pathDepthMax) return `it is deeper than ${limits.pathDepthMax} directories`;
  if (names.some((name) => name === '' || name === '.' || name === '..')) return 'it is not normalized';
  if (names.some((name) => Buffer.byteLength(name) > limits.nameBytesMax)) {
    return `a name in it is longer than ${limits.nameBytesMax} bytes`;
  }
  return undefined;
}

function describe(row: Omit<StateRow, 'content'>): DirectoryState {
  return { id: row.id, entries: row.entries, bytes: row.bytes, created_at: timestamp(row.created_at) };
}
