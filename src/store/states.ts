import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { createZstdCompress, createZstdDecompress } from 'node:zlib';
import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import { DirectoryStateEntry, type DirectoryState, type DirectoryStateResponse } from '../contract/file.ts';
import { limits } from '../contract/limits.ts';
import { DEFAULT_PROJECT } from '../contract/names.ts';
import { sortInTurns } from '../std/sort-in-turns.ts';
import { parseColumn, timestamp, type Database } from './database.ts';
import type { FileStore, StoredFile } from './files.ts';
import type { Holds } from './gc/holds.ts';
import type { StoreParts } from './parts.ts';

interface StateRow {
  readonly id: string;
  readonly entries: number;
  readonly bytes: number;
  readonly created_at: number;
}

interface NewState {
  readonly id: string;
  readonly entries: number;
  readonly bytes: number;
  /** Stored form of the entries: compressed JSON. */
  readonly content: Uint8Array;
  readonly files: ReadonlyMap<string, StoredFile>;
}

/** Entries processed before yielding to other work: a hundred thousand of them take seconds. */
const PER_TURN = 1_000;

const SLICE_BYTES = 256 * 1024;
/** No project has this name. */
const UNFINISHED = '';

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
    const pieces = await serialize(sorted);
    const id = await idOf(this.#project, pieces);
    const known = this.#row(id);
    if (known !== undefined) {
      this.#use(id);
      return { state: describe(known), missing: [] };
    }
    const files = new Map<string, StoredFile>();
    const missing: string[] = [];
    let bytes = 0;
    for (const [at, { sha256 }] of sorted.entries()) {
      if (at % PER_TURN === 0) await new Promise(setImmediate);
      if (sha256 === undefined) continue;
      const file = files.get(sha256) ?? this.#files.findWhole(sha256);
      if (file === undefined) missing.push(sha256);
      else files.set(sha256, file);
      bytes += file?.size ?? 0;
    }
    if (missing.length > 0) return { missing: [...new Set(missing)] };
    const content = Buffer.concat(await Array.fromAsync(Readable.from(pieces).pipe(createZstdCompress())));
    return { state: await this.#create({ id, entries: sorted.length, bytes, content, files }), missing: [] };
  }

  /** Holds a state from then on. Throws DIRECTORY_STATE_NOT_FOUND when it does not exist. */
  ensure(id: string): DirectoryState {
    const row = this.#row(id);
    if (row === undefined) throw fault('DIRECTORY_STATE_NOT_FOUND', { state: id });
    this.#holds.touch(id);
    return describe(row);
  }

  /** Returns the entries of a state, ordered by path. Throws DIRECTORY_STATE_NOT_FOUND. */
  async entries(id: string): Promise<readonly DirectoryStateEntry[]> {
    const row = this.#database.get<{ readonly content: Uint8Array }>(
      'SELECT content FROM states WHERE id = ? AND project = ?',
      id,
      this.#project,
    );
    if (row === undefined) throw fault('DIRECTORY_STATE_NOT_FOUND', { state: id });
    this.#use(id);
    const entries: DirectoryStateEntry[] = [];
    for await (const json of slicesOf(row.content)) {
      entries.push(...parseColumn(z.array(DirectoryStateEntry), json, `directory state ${id}`));
      await new Promise(setImmediate);
    }
    return entries;
  }

  #use(id: string): void {
    this.#holds.touch(id);
    this.#database.run('UPDATE states SET used_at = ? WHERE id = ?', Date.now(), id);
  }

  #row(id: string): StateRow | undefined {
    return this.#database.get<StateRow>(
      'SELECT id, entries, bytes, created_at FROM states WHERE id = ? AND project = ?',
      id,
      this.#project,
    );
  }

  /** Its files are written some at a time. Until all are there the state belongs to no project, so nobody finds it. */
  async #create({ id, entries, bytes, content, files }: NewState): Promise<DirectoryState> {
    const nowMs = Date.now();
    this.#database.run(
      `INSERT OR IGNORE INTO states (id, project, entries, bytes, content, created_at, used_at)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      id,
      UNFINISHED,
      entries,
      bytes,
      content,
      nowMs,
      nowMs,
    );
    const ids = [...files.values()].map((file) => file.id);
    for (let at = 0; at < ids.length; at += PER_TURN) {
      this.#database.run(
        'INSERT OR IGNORE INTO state_files (state, file) SELECT ?, value FROM json_each(?)',
        id,
        JSON.stringify(ids.slice(at, at + PER_TURN)),
      );
      await new Promise(setImmediate);
    }
    this.#database.run('UPDATE states SET project = ?, used_at = ? WHERE id = ?', this.#project, Date.now(), id);
    return describe({ id, entries, bytes, created_at: nowMs });
  }
}

/** Yields the entries of a state as JSON arrays of some thousand each, as they are unpacked. */
async function* slicesOf(content: Uint8Array): AsyncGenerator<string> {
  const unpacked = Readable.from([content]).pipe(createZstdDecompress({ chunkSize: SLICE_BYTES }));
  const decoder = new TextDecoder();
  let text = '';
  let total = 0;
  // In JSON a quotation mark inside of a string has a backslash before it, so this is between entries only.
  for await (const chunk of unpacked as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > limits.metadataBytesMax)
      throw fault('STORE_CORRUPT', { what: 'a directory state', reason: 'too large' });
    text += decoder.decode(chunk, { stream: true });
    const end = text.lastIndexOf('},{"');
    if (end < 0) continue;
    yield `${text.startsWith('[') ? '' : '['}${text.slice(0, end + 1)}]`;
    text = text.slice(end + 2);
  }
  yield `${text.startsWith('[') ? '' : '['}${text}`;
}

/**
 * Returns the first 16 bytes of the content's sha256 as a version 8 UUID, which is short enough for a model to type.
 * The same content has another id in each project, so an id reveals nothing about other projects.
 */
async function idOf(project: string, pieces: readonly string[]): Promise<string> {
  const hash = createHash('sha256').update(project === DEFAULT_PROJECT ? '' : `${project}\n`);
  for (const piece of pieces) {
    hash.update(piece);
    await new Promise(setImmediate);
  }
  const bytes = hash.digest().subarray(0, 16);
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
    const { path, sha256, symlink_to, mode, uid, gid, mtime, removed } = entry;
    byPath.set(path, {
      path,
      ...(sha256 !== undefined && { sha256 }),
      ...(symlink_to !== undefined && { symlink_to }),
      mode,
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
      ...(mtime !== undefined && { mtime }),
      ...(removed !== undefined && { removed }),
    });
  }
  return await sortInTurns([...byPath.values()], (left, right) => (left.path < right.path ? -1 : 1));
}

/** Returns the same text as `JSON.stringify`, in pieces, and yields to other work in between. */
async function serialize(entries: readonly DirectoryStateEntry[]): Promise<string[]> {
  const pieces = ['['];
  for (let at = 0; at < entries.length; at += PER_TURN) {
    pieces.push(at === 0 ? '' : ',', JSON.stringify(entries.slice(at, at + PER_TURN)).slice(1, -1));
    await new Promise(setImmediate);
  }
  return [...pieces.filter(Boolean), ']'];
}

function checkEntry({ path, sha256, symlink_to: target, removed }: DirectoryStateEntry): void {
  const reason = pathProblem(path);
  if (reason !== undefined) throw fault('PATH_INVALID', { path, reason });
  if (sha256 !== undefined && target !== undefined) {
    throw fault('PATH_INVALID', { path, reason: 'it cannot be a file and a symbolic link' });
  }
  if (removed === true && (sha256 ?? target) !== undefined) {
    throw fault('PATH_INVALID', { path, reason: 'it cannot be removed and have a content' });
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

function describe(row: StateRow): DirectoryState {
  return { id: row.id, entries: row.entries, bytes: row.bytes, created_at: timestamp(row.created_at) };
}
