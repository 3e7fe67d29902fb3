import type { ImageConfig } from '../../contract/image.ts';
import { present } from '../../std/present.ts';
import type { Database } from '../database.ts';
import { LayerCounts } from '../gc/layer-counts.ts';
import type { ImageStore, NewImage, StoredImage } from '../images.ts';
import type { StoreParts } from '../parts.ts';

/** Image of a cluster's catalogue without its layers: what lineage and the history of an export need. */
export interface SharedAncestor {
  readonly uuid: string;
  /** UUID of the operation that made it. */
  readonly operation: string | null;
  /** Command that made it; null for a root image. */
  readonly command: string | null;
  readonly exitCode: number | null;
  /** Bytes it adds to its parent. */
  readonly layerBytes: number | null;
  readonly config: ImageConfig;
  readonly createdAtMs: number;
}

/** Image of a cluster's catalogue whose layers are published here. */
export interface SharedImage extends SharedAncestor {
  /** Digests of its layers, bottom first. */
  readonly layers: readonly string[];
  /** Its parent first, its root last; empty for a root image. */
  readonly ancestors: readonly SharedAncestor[];
}

/** Interval at which a use is recorded, so that reading an image does not write each time. */
const USE_RECORDED_MS = 60_000;
/** Contents of an image of which only the row is here: equal to those of no other. */
const NO_CONTENT = '';

/**
 * Images that a cluster's catalogue has, of which this store is a cache. One is either here with its layers or absent: then its
 * row alone remains, which the lineage of others needs, and to everyone else it does not exist.
 */
export class SharedImages {
  readonly #parts: StoreParts;
  readonly #database: Database;

  constructor(parts: StoreParts) {
    this.#parts = parts;
    this.#database = parts.database;
  }

  /** Reports whether an image is here with its layers. */
  has(project: string, uuid: string): boolean {
    return this.#usedAtMs(project, uuid) !== undefined;
  }

  /** Does the same for work that needs the image: a use of it is recorded, and it is held. */
  use(project: string, uuid: string): boolean {
    const usedAtMs = this.#usedAtMs(project, uuid);
    if (usedAtMs === undefined) return false;
    this.#parts.holds.touch(uuid);
    const nowMs = Date.now();
    if (usedAtMs === null || Math.abs(nowMs - usedAtMs) < USE_RECORDED_MS) return true;
    this.#database.run('UPDATE images SET shared_used_at = ? WHERE uuid = ?', nowMs, uuid);
    return true;
  }

  /** Publishes an image of the catalogue, with the rows of its ancestors. Its layers are published and held. */
  publish(images: ImageStore, project: string, { ancestors, layers, ...image }: SharedImage): StoredImage {
    return this.#parts.transaction(
      () => {
        for (const [at, ancestor] of [...ancestors.entries()].toReversed()) {
          this.#addRow(project, ancestor, ancestors[at + 1]?.uuid);
        }
        return images.create({ ...newImage(image, ancestors[0]?.uuid), layers });
      },
      { durable: true },
    );
  }

  /** Deletes images, children before their parents. Returns those that stay because something here uses them. */
  forget(uuids: readonly string[], usedBy: (image: string) => string | undefined): string[] {
    return this.#parts.transaction(
      () => uuids.filter((uuid) => !this.#forget(uuid, usedBy)),
      // Space must become free on a full disk, too.
      { essential: true },
    );
  }

  /** Returns the time of the last use; null for an image that only this store has, undefined for one that is not here. */
  #usedAtMs(project: string, uuid: string): number | null | undefined {
    const sql = 'SELECT shared_used_at AS used FROM images WHERE uuid = ? AND project = ? AND absent = 0';
    return this.#database.get<{ used: number | null }>(sql, uuid, project)?.used;
  }

  #forget(uuid: string, usedBy: (image: string) => string | undefined): boolean {
    const hasChild = this.#database.get('SELECT 1 FROM images WHERE parent = ?', uuid) !== undefined;
    if (hasChild || this.#parts.holds.isHeld(uuid) || usedBy(uuid) !== undefined) return false;
    this.#database.run('DELETE FROM tags WHERE image = ?', uuid);
    this.#database.run('DELETE FROM images WHERE uuid = ?', uuid);
    return true;
  }

  #addRow(project: string, ancestor: SharedAncestor, parent: string | undefined): void {
    const { uuid, operation, command, exitCode, layerBytes, config, createdAtMs } = ancestor;
    this.#database.run(
      `INSERT INTO images (uuid, project, parent, operation, command, exit_code, layer_bytes, config, content,
         created_at, shared_used_at, absent)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 1) ON CONFLICT (uuid) DO NOTHING`,
      uuid,
      project,
      parent ?? null,
      operation,
      command,
      exitCode,
      layerBytes,
      JSON.stringify(config),
      NO_CONTENT,
      createdAtMs,
    );
  }
}

/** Uses that neither the database nor a hold knows, and the bytes to be freed. */
export interface EvictRequest {
  readonly excess: number;
  /** Time before which an image must have been used last. */
  readonly usedBeforeMs: number;
  readonly usedBy: (image: string) => string | undefined;
}

/**
 * Makes the least recently used images of the catalogue absent until enough bytes of layers are unused. Returns their number.
 * Never one that is held or used, nor one that only this store has. Must be called in a transaction.
 */
export function evictImages(
  { database, holds }: Pick<StoreParts, 'database' | 'holds'>,
  { excess, usedBeforeMs, usedBy }: EvictRequest,
): number {
  if (excess <= 0) return 0;
  const candidates = database.all<{ uuid: string }>(
    `SELECT uuid FROM images WHERE shared_used_at < ? AND absent = 0 ORDER BY shared_used_at, rowid`,
    usedBeforeMs,
  );
  if (candidates.length === 0) return 0;
  const layers = new LayerCounts(database, (layer) => holds.isHeld(layer));
  let evicted = 0;
  for (const { uuid } of candidates) {
    if (layers.freedBytes >= excess) break;
    if (holds.isHeld(uuid) || usedBy(uuid) !== undefined) continue;
    dropLayers(database, uuid);
    layers.drop(uuid);
    evicted += 1;
  }
  return evicted;
}

function dropLayers(database: Database, uuid: string): void {
  database.run('DELETE FROM image_layers WHERE image = ?', uuid);
  database.run('UPDATE images SET absent = 1, content = ? WHERE uuid = ?', NO_CONTENT, uuid);
}

function newImage(image: SharedAncestor, parent: string | undefined): Omit<NewImage, 'layers'> {
  const { uuid, operation, command, exitCode, layerBytes, config, createdAtMs } = image;
  const origin = present({
    parent,
    operation: operation ?? undefined,
    command: command ?? undefined,
    exitCode: exitCode ?? undefined,
    layerBytes: layerBytes ?? undefined,
  });
  return { ...origin, config, shared: { uuid, createdAtMs } };
}
