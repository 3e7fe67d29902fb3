import { OBJECT_PREFIXES, type ObjectStore } from '../objects/object-store.ts';
import type { ClusterDatabase, Sql } from './database.ts';
import { storedKey } from './objects.ts';
import { epochMs } from './values.ts';

/** Policy of a collection. */
export interface CollectionPolicy {
  /**
   * Time for which a content is kept after its last use though nothing refers to it, in seconds: longer than an upload takes, so
   * that it is rarely made again. Nothing is lost by a shorter one.
   */
  readonly spareSeconds: number;
}

/** Result of a collection. */
export interface Collected {
  /** Contents that nothing referred to. */
  readonly objects: number;
  readonly bytes: number;
  /** Objects of the storage without a row: of nodes that died, or of deletions that did. */
  readonly orphans: number;
  /** Uploads that nobody completed. */
  readonly uploads: number;
}

/** Rows of a transaction: locks are held for a short time. */
const PER_TRANSACTION = 500;

/** Condition that nothing refers to a row of `objects`. */
const UNUSED = `NOT EXISTS (SELECT FROM layers WHERE layers.object = objects.key)
  AND NOT EXISTS (SELECT FROM files WHERE files.object = objects.key)
  AND NOT EXISTS (SELECT FROM states WHERE states.key = objects.key)
  AND NOT EXISTS (SELECT FROM operations WHERE operations.log_key = objects.key)`;
const NO_IMAGE = 'NOT EXISTS (SELECT FROM image_layers WHERE image_layers.layer = layers.digest)';

/**
 * Deletes contents that nothing in the catalogue refers to. Any number of nodes may do so at any time: a row is deleted first,
 * under a lock that excludes a publication that is about to refer to it, and then the object that only this row named. A crash
 * in between leaves an object without a row, which the next collection finds. Faults: CLUSTER_UNAVAILABLE and those of the
 * storage.
 */
export async function collectObjects(
  database: ClusterDatabase,
  objects: ObjectStore,
  { spareSeconds }: CollectionPolicy,
  signal: AbortSignal,
): Promise<Collected> {
  const spare = `${spareSeconds} seconds`;
  const startedMs = await now(database);
  await inBatches(signal, () => database.transaction((sql) => dropLayers(sql, spare)));
  let [count, bytes] = [0, 0];
  await inBatches(signal, async () => {
    const dropped = await database.transaction((sql) => dropObjects(sql, spare));
    await objects.delete(
      dropped.map(({ key, generation }) => storedKey(key, generation)),
      signal,
    );
    count += dropped.length;
    bytes += dropped.reduce((sum, row) => sum + row.bytes, 0);
    return dropped.length;
  });
  const orphans = await deleteOrphans(database, objects, signal);
  const uploads = await objects.endUploads(startedMs - spareSeconds * 1_000, signal);
  return { objects: count, bytes, orphans, uploads };
}

/** Drops layers that no image has. Returns how many were looked at. */
async function dropLayers(sql: Sql, spare: string): Promise<number> {
  const found = await sql.rows<{ digest: string }>(
    `SELECT digest FROM layers WHERE used_at < now() - $1::interval AND ${NO_IMAGE}
     ORDER BY digest LIMIT ${PER_TRANSACTION} FOR UPDATE SKIP LOCKED`,
    spare,
  );
  const digests = found.map(({ digest }) => digest);
  // Looked at again, under the lock: an image may have been published before it was there.
  return await sql.run(`DELETE FROM layers WHERE digest = ANY ($1) AND ${NO_IMAGE}`, digests);
}

/** Drops rows of contents that nothing refers to, and returns them. */
async function dropObjects(sql: Sql, spare: string): Promise<DroppedRow[]> {
  const found = await sql.rows<{ key: string }>(
    `SELECT key FROM objects WHERE used_at < now() - $1::interval AND ${UNUSED}
     ORDER BY key LIMIT ${PER_TRANSACTION} FOR UPDATE SKIP LOCKED`,
    spare,
  );
  return await sql.rows<DroppedRow>(
    `DELETE FROM objects WHERE key = ANY ($1) AND ${UNUSED} RETURNING key, generation, bytes::float8 AS bytes`,
    found.map(({ key }) => key),
  );
}

interface DroppedRow {
  readonly key: string;
  readonly generation: string;
  readonly bytes: number;
}

/** Deletes objects that no row names: names are given out once, so none of them is about to be needed. */
async function deleteOrphans(database: ClusterDatabase, objects: ObjectStore, signal: AbortSignal): Promise<number> {
  let deleted = 0;
  const look = async (names: readonly string[]): Promise<void> => {
    const rows = await database.rows<{ name: string }>(
      `SELECT key || '.' || generation AS name FROM objects WHERE key = ANY ($1)`,
      names.map((name) => name.slice(0, name.lastIndexOf('.'))),
    );
    const known = new Set(rows.map(({ name }) => name));
    const orphans = names.filter((name) => !known.has(name));
    if (orphans.length > 0) await objects.delete(orphans, signal);
    deleted += orphans.length;
  };
  for (const prefix of Object.values(OBJECT_PREFIXES)) {
    let names: string[] = [];
    for await (const { key } of objects.list(prefix, signal)) {
      names.push(key);
      if (names.length < PER_TRANSACTION) continue;
      await look(names);
      names = [];
    }
    if (names.length > 0) await look(names);
  }
  return deleted;
}

/** Repeats a step that does a part until there is nothing to do. */
async function inBatches(signal: AbortSignal, step: () => Promise<number>): Promise<void> {
  do signal.throwIfAborted();
  while ((await step()) > 0);
}

/** Returns the time of the database (ms since 1970): clocks of nodes do not matter. */
async function now(database: ClusterDatabase): Promise<number> {
  const [row] = await database.rows<{ ms: number }>(`SELECT ${epochMs('now()')} AS ms`);
  return row?.ms ?? 0;
}
