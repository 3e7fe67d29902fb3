import { statSync } from 'node:fs';
import { stat, rename, rm, chmod } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { fault } from '../contract/errors.ts';
import type { LayerFile } from '../erofs/layer-file.ts';
import { assert, defined } from '../std/assert.ts';
import { hashFile } from '../std/hash-file.ts';
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

/** Where a published layer lies. */
export interface PublishedFile extends LayerFile {
  /** sha256 of the file, hex. */
  readonly digest: string;
}

/** A file that is being written below `tmp/`. Disposing it removes it, unless it has been published. */
export interface StagedFile extends AsyncDisposable {
  readonly path: string;
}

/** A layer that a builder has finished; its digest may still carry `sha256:` in front. */
export interface LayerFacts extends Layer {
  /**
   * What the layer was made from, when making it again is to be avoided: `oci:<chainID>` for an imported one, or a key
   * of the maker's own.
   */
  readonly source?: string;
}

/** A layer that is not what it was when it was published. */
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
 * Layers: EROFS files named by their sha256, written once and never changed.
 *
 * `staged` (a private file in `tmp/`) → `published` (fsynced, renamed to its digest, then known to the database), and
 * never back; gc removes what no image uses.
 *
 * All projects share them by content. What is known of where they came from (`source`) is kept per project: to be given
 * a layer for the mere name of its source is a right that only whoever brought it in has.
 */
export class LayerStore {
  readonly #database: Database;
  readonly #holds: Holds;
  readonly #directory: string;
  readonly #tmp: string;
  readonly #project: string;

  constructor({ database, holds, directory, tmp }: StoreParts, project: string) {
    this.#database = database;
    this.#holds = holds;
    this.#directory = join(directory, 'layers');
    this.#tmp = tmp;
    this.#project = project;
  }

  /** The layer of this digest (hex) if the store has it whole. */
  find(digest: string): Layer | undefined {
    const row = this.#database.get<LayerRow>('SELECT * FROM layers WHERE digest = ? AND damage IS NULL', digest);
    if (row === undefined) return undefined;
    this.#holds.touch(digest);
    return layerOf(row);
  }

  /** The layer that was made from this source before, in this project. */
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

  /** The layer made from the OCI layer on top of exactly this chain (`sha256:<hex>`, as OCI's chainID). */
  findByChain(chainId: string): Layer | undefined {
    return this.findBySource(`oci:${chainId}`);
  }

  /** A path below `tmp/` to build a layer at. The file does not exist yet. */
  stage(): StagedFile {
    const path = join(this.#tmp, `layer-${randomUUID()}`);
    return { path, [Symbol.asyncDispose]: () => rm(path, { force: true }) };
  }

  /**
   * Makes a complete staged file a layer: on disk first, then in the database. A layer that exists already is left
   * alone. Hold the store until something refers to it. Rejects with DISK_FULL.
   */
  async publish(staged: StagedFile, facts: LayerFacts): Promise<Layer> {
    const digest = facts.digest.replace(/^sha256:/u, '');
    assert(DIGEST.test(digest), 'a layer is named by a sha256');
    this.#holds.touch(digest);
    const layer = { digest, bytes: facts.bytes, entries: facts.entries };
    if (!(await this.#isWhole(digest))) {
      const modified = await writing(() => this.#place(staged.path, layer));
      // Not durable by itself: what will refer to it is, and that comes later in the same log.
      this.#record(layer, modified);
    }
    if (facts.source !== undefined) this.link(facts.source, digest);
    return layer;
  }

  /** Notes that `source` yields this layer, in this project. */
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
   * Where the layer is, for reading. A file that was written to since it was published is hashed again first, and
   * never served when it is damaged: STORE_CORRUPT.
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

  /** The same for several, in their order. */
  async files(digests: readonly string[]): Promise<PublishedFile[]> {
    return Promise.all(digests.map((digest) => this.file(digest)));
  }

  /**
   * Names these layers as they are on the disk now; undefined when one of them is damaged or was written to since it was
   * last looked at, and must be asked for by `files`. Costs some microseconds a layer.
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

  /** Hashes every layer again and yields those that are damaged; they are not served any more. */
  async *verify(signal: AbortSignal): AsyncIterable<DamagedLayer> {
    for (const { digest } of this.#database.all<LayerRow>('SELECT * FROM layers ORDER BY digest')) {
      const row = this.#database.get<LayerRow>('SELECT * FROM layers WHERE digest = ?', digest);
      if (row === undefined) continue;
      const reason = await this.#rehash(row, signal);
      if (reason !== undefined) yield { digest, reason, images: this.#imagesWith(digest) };
    }
  }

  /** Bytes of several layers together. */
  bytesOf(digests: readonly string[]): number {
    const sql = 'SELECT coalesce(sum(bytes), 0) AS bytes FROM layers WHERE digest IN (SELECT value FROM json_each(?))';
    return this.#database.get<{ bytes: number }>(sql, JSON.stringify(digests))?.bytes ?? 0;
  }

  /** Number of layers and their bytes. */
  usage(): { readonly count: number; readonly bytes: number } {
    const sql = 'SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes FROM layers';
    const { count, bytes } = defined(
      this.#database.get<{ count: number; bytes: number }>(sql),
      'an aggregate has a row',
    );
    return { count, bytes };
  }

  pathOf(digest: string): string {
    return join(this.#directory, digest);
  }

  /** Whether the store already has this layer, so that a new copy would be thrown away. */
  async #isWhole(digest: string): Promise<boolean> {
    const row = this.#database.get<LayerRow>('SELECT * FROM layers WHERE digest = ?', digest);
    return row !== undefined && row.damage === null && (await this.#findDamage(row)) === undefined;
  }

  async #place(path: string, { digest, bytes }: Layer): Promise<string> {
    await chmod(path, 0o444);
    await sync(path);
    const stats = await stat(path, { bigint: true });
    assert(Number(stats.size) === bytes, `layer ${digest} has the size its builder says`);
    await rename(path, this.pathOf(digest));
    await sync(this.#directory);
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

  /** Looks at size and modification time only, and at the content when those have changed. */
  async #findDamage(row: LayerRow): Promise<string | undefined> {
    const stats = await stat(this.pathOf(row.digest), { bigint: true }).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (stats !== undefined && Number(stats.size) === row.bytes && modificationOf(stats) === row.modified_ns) {
      return undefined;
    }
    return this.#rehash(row);
  }

  async #rehash(row: LayerRow, signal?: AbortSignal): Promise<string | undefined> {
    const path = this.pathOf(row.digest);
    let reason: string | undefined;
    let modified = row.modified_ns;
    try {
      modified = modificationOf(await stat(path, { bigint: true }));
      const actual = await hashFile(path, signal);
      if (actual !== row.digest) reason = `its content has digest ${actual}`;
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
