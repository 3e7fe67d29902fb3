import { statSync } from 'node:fs';
import { stat, rename, rm, chmod } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { fault } from '../contract/errors.ts';
import type { LayerFile } from '../erofs/layer-file.ts';
import { assert, defined } from '../std/assert.ts';
import { hashFile } from '../std/files.ts';
import type { Database } from './database.ts';
import { isMissing, modificationOf, sync, writing } from './disk.ts';
import type { Holds } from './gc/holds.ts';
import type { StoreParts } from './parts.ts';

/** A published layer. */
export interface Layer {
  /** sha256 of the EROFS file, hex. */
  readonly digest: string;
  readonly bytes: number;
  readonly entries: number;
}

/** File of a published layer. */
export interface PublishedFile extends LayerFile {
  /** sha256 of the file, hex. */
  readonly digest: string;
}

/** File being written below `tmp/`. Disposing it removes it, unless it has been published. */
export interface StagedFile extends AsyncDisposable {
  readonly path: string;
}

/** Layer completed by a builder; its digest may still have the prefix `sha256:`. */
export interface LayerFacts extends Layer {
  /**
   * Key of the layer's source, to avoid building it again: `oci:<chainID>` for an imported layer, or a key chosen by
   * the builder.
   */
  readonly source?: string;
}

/** Layer whose file differs from the published one. */
export interface DamagedLayer {
  readonly digest: string;
  readonly reason: string;
  /** Images that need it, at most 20. */
  readonly images: readonly string[];
}

interface LayerRow {
  readonly digest: string;
  readonly bytes: number;
  readonly entries: number;
  readonly modified_ns: string;
  readonly damage: string | null;
}

const DIGEST = /^[0-9a-f]{64}$/u;

/**
 * Layers: EROFS files named by their sha256, written once and never changed. A layer goes from `staged` (a private file
 * in `tmp/`) to `published` (fsynced, renamed to its digest, then recorded in the database), and never back; gc removes
 * layers that no image uses. All projects share them by content. Their sources (`source`) are recorded per project,
 * because getting a layer by the name of its source is a right of the project that imported it.
 */
export class LayerStore {
  readonly #database: Database;
  readonly #holds: Holds;
  readonly #parts: StoreParts;
  readonly #project: string;

  constructor(parts: StoreParts, project: string) {
    this.#database = parts.database;
    this.#holds = parts.holds;
    this.#parts = parts;
    this.#project = project;
  }

  /** Returns the layer of this digest (hex) if the store has it undamaged. */
  find(digest: string): Layer | undefined {
    const row = this.#database.get<LayerRow>('SELECT * FROM layers WHERE digest = ? AND damage IS NULL', digest);
    if (row === undefined) return undefined;
    this.#holds.touch(digest);
    return layerOf(row);
  }

  /** Returns the layer that was built from this source before, in this project. */
  findBySource(source: string): Layer | undefined {
    const row = this.#database.get<LayerRow>(
      `SELECT layers.* FROM layer_sources JOIN layers ON digest = layer
       WHERE project = ? AND source = ? AND damage IS NULL`,
      this.#project,
      source,
    );
    if (row === undefined) return undefined;
    this.#holds.touch(row.digest);
    const used = 'UPDATE layer_sources SET used_at = ? WHERE project = ? AND source = ?';
    this.#database.run(used, Date.now(), this.#project, source);
    return layerOf(row);
  }

  /** Returns the layer built from the OCI layer with this chainID (`sha256:<hex>`). */
  findByChain(chainId: string): Layer | undefined {
    return this.findBySource(`oci:${chainId}`);
  }

  /** Returns a path below `tmp/` for a new layer. The file does not exist yet. */
  stage(): StagedFile {
    const path = join(this.#parts.folder('tmp'), `layer-${randomUUID()}`);
    return { path, [Symbol.asyncDispose]: () => rm(path, { force: true }) };
  }

  /**
   * Publishes a complete staged file as a layer: on disk first, then in the database. An existing layer is left
   * unchanged. The caller holds the store until something refers to the layer. Rejects with DISK_FULL.
   */
  async publish(staged: StagedFile, facts: LayerFacts): Promise<Layer> {
    const digest = facts.digest.replace(/^sha256:/u, '');
    assert(DIGEST.test(digest), 'a layer is named by a sha256');
    this.#holds.touch(digest);
    const layer = { digest, bytes: facts.bytes, entries: facts.entries };
    if (!(await this.#isWhole(digest))) {
      const modified = await writing(() => this.#place(staged.path, layer));
      // Not durable on its own: the row that will refer to it is, and comes later in the same log.
      this.#record(layer, modified);
    }
    if (facts.source !== undefined) this.link(facts.source, digest);
    return layer;
  }

  /** Records that `source` yields this layer, in this project. */
  link(source: string, digest: string): void {
    this.#database.run(
      `INSERT INTO layer_sources (project, source, layer, used_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (project, source) DO UPDATE SET layer = excluded.layer, used_at = excluded.used_at`,
      this.#project,
      source,
      digest,
      Date.now(),
    );
  }

  /**
   * Returns the layer's file for reading. A file that was modified since publication is hashed first, and a damaged one
   * is never served: STORE_CORRUPT.
   */
  async file(digest: string): Promise<PublishedFile> {
    const row = this.#database.get<LayerRow>('SELECT * FROM layers WHERE digest = ?', digest);
    assert(row !== undefined, `layer ${digest} is in the database`);
    this.#holds.touch(digest);
    const damage = row.damage ?? (await this.#findDamage(row));
    if (damage !== undefined) throw fault('STORE_CORRUPT', { what: `layer ${digest}`, reason: damage });
    const version = this.#database.get<LayerRow>('SELECT * FROM layers WHERE digest = ?', digest)?.modified_ns;
    return { digest, path: this.pathOf(digest), bytes: row.bytes, version: version ?? row.modified_ns };
  }

  /** Returns the files of several layers, in their order. */
  async files(digests: readonly string[]): Promise<PublishedFile[]> {
    return Promise.all(digests.map((digest) => this.file(digest)));
  }

  /**
   * Returns a key of the current files of these layers, or undefined when one is damaged or was modified since the last
   * check and must be requested with `files`. It takes some microseconds per layer.
   */
  versions(digests: readonly string[]): string | undefined {
    const rows = this.#database.all<LayerRow>(
      'SELECT layers.* FROM json_each(?) JOIN layers ON digest = value ORDER BY key',
      JSON.stringify(digests),
    );
    const asPublished = rows.every(({ digest, bytes, modified_ns, damage }) => {
      const stats = statSync(this.pathOf(digest), { bigint: true, throwIfNoEntry: false });
      return damage === null && Number(stats?.size) === bytes && stats && modificationOf(stats) === modified_ns;
    });
    if (!asPublished || rows.length < digests.length) return undefined;
    return rows.map(({ digest, modified_ns }) => `${digest}:${modified_ns}`).join();
  }

  /** Hashes every layer and yields damaged ones, which are not served any more. */
  async *verify(signal: AbortSignal): AsyncIterable<DamagedLayer> {
    for (const { digest } of this.#database.all<LayerRow>('SELECT * FROM layers ORDER BY digest')) {
      const row = this.#database.get<LayerRow>('SELECT * FROM layers WHERE digest = ?', digest);
      if (row === undefined) continue;
      const reason = await this.#rehash(row, signal);
      if (reason !== undefined) yield { digest, reason, images: this.#imagesWith(digest) };
    }
  }

  /** Returns the total bytes of several layers. */
  bytesOf(digests: readonly string[]): number {
    const sql = 'SELECT coalesce(sum(bytes), 0) AS bytes FROM layers WHERE digest IN (SELECT value FROM json_each(?))';
    return this.#database.get<{ bytes: number }>(sql, JSON.stringify(digests))?.bytes ?? 0;
  }

  /** Returns the number of layers and their bytes. */
  usage(): { readonly count: number; readonly bytes: number } {
    const sql = 'SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes FROM layers';
    const { count, bytes } = defined(
      this.#database.get<{ count: number; bytes: number }>(sql),
      'an aggregate has a row',
    );
    return { count, bytes };
  }

  pathOf(digest: string): string {
    return join(this.#parts.directory, 'layers', digest);
  }

  /** Reports whether the store already has this layer undamaged, so that a new copy is discarded. */
  async #isWhole(digest: string): Promise<boolean> {
    const row = this.#database.get<LayerRow>('SELECT * FROM layers WHERE digest = ?', digest);
    return row !== undefined && row.damage === null && (await this.#findDamage(row)) === undefined;
  }

  async #place(path: string, { digest, bytes }: Layer): Promise<string> {
    await chmod(path, 0o444);
    await sync(path);
    const place = await stat(this.pathOf(digest)).catch(() => undefined);
    // Only a damaged store has a folder there, which a file cannot replace.
    if (place?.isDirectory() === true) await rm(this.pathOf(digest), { recursive: true });
    const directory = this.#parts.folder('layers');
    await rename(path, join(directory, digest));
    await sync(directory);
    // Only now: a rename changes the time, too.
    const stats = await stat(this.pathOf(digest), { bigint: true });
    assert(Number(stats.size) === bytes, `layer ${digest} has the size its builder says`);
    return modificationOf(stats);
  }

  #record({ digest, bytes, entries }: Layer, modified: string): void {
    this.#database.run(
      `INSERT INTO layers (digest, bytes, entries, modified_ns, created_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (digest) DO UPDATE SET modified_ns = excluded.modified_ns, damage = NULL`,
      digest,
      bytes,
      entries,
      modified,
      Date.now(),
    );
  }

  /** Checks size and time of change, and the content only when those have changed. */
  async #findDamage(row: LayerRow): Promise<string | undefined> {
    const stats = await stat(this.pathOf(row.digest), { bigint: true }).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (stats?.isFile() === true && Number(stats.size) === row.bytes && modificationOf(stats) === row.modified_ns) {
      return undefined;
    }
    return this.#rehash(row);
  }

  async #rehash(row: LayerRow, signal?: AbortSignal): Promise<string | undefined> {
    const path = this.pathOf(row.digest);
    let reason: string | undefined;
    let modified = row.modified_ns;
    try {
      const stats = await stat(path, { bigint: true });
      modified = modificationOf(stats);
      // To open a pipe would wait for its writer.
      const actual = stats.isFile() ? await hashFile(path, signal) : undefined;
      if (actual === undefined) reason = 'it is not a file';
      else if (actual !== row.digest) reason = `its content has digest ${actual}`;
    } catch (error) {
      if (!isMissing(error)) throw error;
      reason = 'the file is missing';
    }
    this.#database.run(
      'UPDATE layers SET damage = ?, modified_ns = ? WHERE digest = ?',
      reason ?? null,
      modified,
      row.digest,
    );
    return reason;
  }

  #imagesWith(digest: string): string[] {
    return this.#database
      .all<{ image: string }>('SELECT DISTINCT image FROM image_layers WHERE layer = ? LIMIT 20', digest)
      .map(({ image }) => image);
  }
}

function layerOf({ digest, bytes, entries }: LayerRow): Layer {
  return { digest, bytes, entries };
}
