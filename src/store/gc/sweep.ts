import type { GcReport } from '../../contract/server.ts';
import type { Database } from '../database.ts';
import { evictImages } from '../shared/images.ts';
import { imagesToDrop } from './images.ts';
import type { Holds } from './holds.ts';
import { dropUnusableRecords } from '../recorded-runs.ts';
import { spaceUsage, storeBytes } from './usage.ts';

export interface SweepRequest {
  /** Time before which uploads, directory states, injected layers and output must have been last used to be dropped. */
  readonly unusedSinceMs: number;
  /** Size above which younger items are dropped too, and untagged images that nothing depends on, oldest first. */
  readonly bytesMax?: number;
  /** Time after which items made or used are kept whatever the size (default: none is kept). */
  readonly spareSinceMs?: number;
  /** True to free only images that a cluster's catalogue has, however recently used, down to `bytesMax`. */
  readonly sharedOnly?: boolean;
  /** Names a use of an image that the database does not know, for example by a running operation. */
  readonly usedBy: (image: string) => string | undefined;
}

export interface SweepPlace {
  readonly database: Database;
  readonly holds: Holds;
}

/** Result of a sweep: removed items and remaining usage. */
export interface Sweep {
  images: number;
  /** Digests of layers whose files are to be removed. */
  readonly layers: string[];
  /** sha256 of uploads whose files are to be removed. */
  readonly files: string[];
  events: number;
  freedBytes: number;
  usage: GcReport['usage'];
}

/** Key prefix of layers made from injected files: a cache that is kept while it is used. */
export const INJECTED = 'files:';

const HOUR_MS = 3_600_000;
/** Ages that are tried in turn while the store is too large. */
const STEPS_MS = [7 * 24 * HOUR_MS, 24 * HOUR_MS, HOUR_MS];

/** Deletes the rows of unused items. Must be called in a transaction. */
export function sweepUnneeded(place: SweepPlace, request: SweepRequest): Sweep {
  const { unusedSinceMs, bytesMax, spareSinceMs = Number.MAX_SAFE_INTEGER } = request;
  const sweep: Sweep = { images: 0, layers: [], files: [], events: 0, freedBytes: 0, usage: [] };
  if (request.sharedOnly === true) {
    sweepShared(place, { bytesMax: bytesMax ?? 0, usedBy: request.usedBy }, Number.MAX_SAFE_INTEGER, sweep);
    return sweep;
  }
  sweepUnused(place, { unusedSinceMs, spareSinceMs }, sweep);
  const younger = [...STEPS_MS.map((age) => Date.now() - age), spareSinceMs];
  for (const sinceMs of younger.filter((since) => since > unusedSinceMs && since <= spareSinceMs)) {
    if (bytesMax === undefined || storeBytes(place.database) <= bytesMax) break;
    sweepUnused(place, { unusedSinceMs: sinceMs, spareSinceMs }, sweep);
    sweepShared(place, { ...request, bytesMax }, sinceMs, sweep);
    const excess = storeBytes(place.database) - bytesMax;
    for (const uuid of imagesToDrop(place.database, { excess, madeBeforeMs: sinceMs, usedBy: request.usedBy })) {
      place.database.run('DELETE FROM images WHERE uuid = ?', uuid);
      sweep.images += 1;
    }
    sweepLayers(place, { unusedSinceMs: sinceMs, spareSinceMs }, sweep);
  }
  dropUnusableRecords(place.database);
  sweep.usage = spaceUsage(place.database);
  return sweep;
}

/** Makes images absent that a cluster's catalogue has, the least recently used first, and frees their layers. */
function sweepShared(
  place: SweepPlace,
  { bytesMax, usedBy }: { readonly bytesMax: number; readonly usedBy: SweepRequest['usedBy'] },
  usedBeforeMs: number,
  sweep: Sweep,
): void {
  const excess = storeBytes(place.database) - bytesMax;
  const evicted = evictImages(place, { excess, usedBeforeMs, usedBy });
  sweep.images += evicted;
  const all = Number.MAX_SAFE_INTEGER;
  if (evicted > 0) sweepLayers(place, { unusedSinceMs: Number.MIN_SAFE_INTEGER, spareSinceMs: all }, sweep);
}

/** Age limits: last used before `unusedSinceMs`; for anything but caches, made before `spareSinceMs`. */
interface Ages {
  readonly unusedSinceMs: number;
  readonly spareSinceMs: number;
}

function sweepUnused(place: SweepPlace, ages: Ages, sweep: Sweep): void {
  sweepFiles(place, ages, sweep);
  sweepLayers(place, ages, sweep);
  sweepOutput(place.database, ages, sweep);
}

function sweepFiles({ database, holds }: SweepPlace, { unusedSinceMs }: Ages, sweep: Sweep): void {
  const states = database.all<{ id: string }>('SELECT id FROM states WHERE used_at < ?', unusedSinceMs);
  for (const { id } of states) if (!holds.isHeld(id)) database.run('DELETE FROM states WHERE id = ?', id);
  const files = database.all<{ id: number; sha256: string; size: number }>(
    'SELECT id, sha256, size FROM files WHERE updated_at < ? AND id NOT IN (SELECT file FROM state_files)',
    unusedSinceMs,
  );
  for (const { id, sha256, size } of files) {
    if (holds.isHeld(sha256)) continue;
    database.run('DELETE FROM files WHERE id = ?', id);
    // Another project may have the same content.
    if (database.get('SELECT 1 FROM files WHERE sha256 = ?', sha256) !== undefined) continue;
    sweep.files.push(sha256);
    sweep.freedBytes += size;
  }
}

function sweepLayers({ database, holds }: SweepPlace, { unusedSinceMs, spareSinceMs }: Ages, sweep: Sweep): void {
  const unused = database.all<{ digest: string; bytes: number }>(
    `SELECT digest, bytes FROM layers WHERE created_at < ? AND digest NOT IN (SELECT layer FROM image_layers)
       AND NOT EXISTS
         (SELECT 1 FROM layer_sources WHERE layer = digest AND used_at >= ? AND source LIKE '${INJECTED}%')`,
    spareSinceMs,
    unusedSinceMs,
  );
  for (const { digest, bytes } of unused) {
    if (holds.isHeld(digest)) continue;
    database.run('DELETE FROM layers WHERE digest = ?', digest);
    sweep.layers.push(digest);
    sweep.freedBytes += bytes;
  }
}

/** Drops output only; how a process started and ended is kept. */
function sweepOutput(database: Database, { unusedSinceMs }: Ages, sweep: Sweep): void {
  const old = 'SELECT uuid FROM operations WHERE finished_at < ? AND output_dropped = 0';
  const output = `type IN ('stdout', 'stderr') AND operation IN (${old})`;
  const sum = `SELECT coalesce(sum(length(bytes)), 0) AS bytes FROM events WHERE ${output}`;
  sweep.freedBytes += database.get<{ bytes: number }>(sum, unusedSinceMs)?.bytes ?? 0;
  // What the catalogue has is forgotten as a whole, and fetched again when it is asked for.
  const forgotten = 'DELETE FROM operations WHERE shared = 1 AND finished_at < ?';
  const marked = `UPDATE operations SET output_dropped = 1 WHERE finished_at < ? AND output_dropped = 0`;
  sweep.events += database.run(`DELETE FROM events WHERE ${output}`, unusedSinceMs);
  database.run(forgotten, unusedSinceMs);
  database.run(marked, unusedSinceMs);
}
