import { renameSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import type { GcReport } from '../contract/contree.ts';
import { isFault } from '../contract/errors.ts';
import type { Database } from './database.ts';
import { isMissing } from './disk.ts';
import type { Holds } from './holds.ts';
import { spaceUsage } from './usage.ts';

export interface GcRequest {
  /** Uploads, directory states, injected layers and output that were last used before this are dropped. */
  readonly unusedSinceMs: number;
  /** Untagged images that nothing depends on go too, oldest first, until layers take no more than this. */
  readonly layerBytesMax?: number;
  readonly dryRun: boolean;
  /** What uses an image although the database does not know it, for example a running operation. */
  readonly usedBy: (image: string) => string | undefined;
  /** A file without a row is a leftover of a crash once it is this old; before, it may be just being published. */
  readonly orphanAgeMs?: number;
  /** Told of each layer file that is about to go, so that nobody keeps it open. */
  readonly onRemove?: (path: string) => Promise<void>;
}

export interface GcPlace {
  readonly database: Database;
  readonly holds: Holds;
  readonly layers: string;
  readonly files: string;
  readonly tmp: string;
}

interface Sweep {
  images: number;
  layers: string[];
  files: string[];
  events: number;
  freedBytes: number;
  /** What would be left. */
  usage: GcReport['usage'];
}

/** Key prefix of layers made from injected files: a cache that is worth keeping while it is used. */
export const INJECTED = 'files:';
const ORPHAN_AGE_MS = 3_600_000;
const VACUUM_PAGES = 256;

/** Carries the result out of a transaction that is to leave no trace. */
class DryRun extends Error {
  readonly sweep: Sweep;

  constructor(sweep: Sweep) {
    super('dry run');
    this.sweep = sweep;
  }
}

/**
 * Frees what nothing in any project needs: rows first, durably, then their files. What is held stays, so runs and imports may go on
 * meanwhile. A crash in between leaves files without rows, which the next gc removes.
 */
export async function collectGarbage(place: GcPlace, request: GcRequest, signal?: AbortSignal): Promise<GcReport> {
  const sweep = sweepRows(place, request);
  if (!request.dryRun) {
    // In the tick of the commit, so that nobody can publish the same content in between.
    const doomed = [
      ...moveAway(place, place.layers, sweep.layers),
      ...moveAway(place, place.files, sweep.files),
      ...moveAway(place, place.layers, await orphans(place, 'layers', request)),
      ...moveAway(place, place.files, await orphans(place, 'files', request)),
    ];
    for (const digest of sweep.layers) await request.onRemove?.(join(place.layers, digest));
    for (const path of doomed) await rm(path, { force: true });
    await shrink(place.database, signal);
  }
  return {
    images: sweep.images,
    layers: sweep.layers.length,
    files: sweep.files.length,
    events: sweep.events,
    freed_bytes: sweep.freedBytes,
    usage: sweep.usage,
  };
}

/** Gives unused pages of the database back. Best effort: on a disk that is full to the brim it may be too early. */
async function shrink(database: Database, signal?: AbortSignal): Promise<void> {
  try {
    while (database.unusedPages() > 0) {
      signal?.throwIfAborted();
      database.vacuum(VACUUM_PAGES);
      await new Promise(setImmediate);
    }
    database.truncateLog();
  } catch (error) {
    if (!isFault(error, 'DISK_FULL')) throw error;
  }
}

function sweepRows(place: GcPlace, request: GcRequest): Sweep {
  const { database } = place;
  try {
    return database.transaction(
      () => {
        const sweep: Sweep = { images: 0, layers: [], files: [], events: 0, freedBytes: 0, usage: [] };
        if (request.layerBytesMax !== undefined) sweepImages(database, request.layerBytesMax, request.usedBy, sweep);
        sweepFiles(place, request.unusedSinceMs, sweep);
        sweepLayers(place, request.unusedSinceMs, sweep);
        sweepOutput(database, request.unusedSinceMs, sweep);
        sweep.usage = spaceUsage(database);
        if (request.dryRun) throw new DryRun(sweep);
        return sweep;
      },
      { durable: true },
    );
  } catch (error) {
    if (error instanceof DryRun) return error.sweep;
    throw error;
  }
}

/** Takes untagged leaves, oldest first; a parent becomes a leaf when its last child is gone. */
function sweepImages(
  database: Database,
  bytesMax: number,
  usedBy: (image: string) => string | undefined,
  sweep: Sweep,
): void {
  const used = 'SELECT coalesce(sum(bytes), 0) AS bytes FROM layers WHERE digest IN (SELECT layer FROM image_layers)';
  const leaves = `SELECT uuid FROM images WHERE uuid NOT IN (SELECT image FROM tags)
    AND uuid NOT IN (SELECT parent FROM images WHERE parent IS NOT NULL) ORDER BY created_at, rowid`;
  for (;;) {
    if ((database.get<{ bytes: number }>(used)?.bytes ?? 0) <= bytesMax) return;
    const leaf = database.all<{ uuid: string }>(leaves).find(({ uuid }) => usedBy(uuid) === undefined);
    if (leaf === undefined) return;
    database.run('DELETE FROM images WHERE uuid = ?', leaf.uuid);
    sweep.images += 1;
  }
}

function sweepFiles({ database, holds }: GcPlace, unusedSinceMs: number, sweep: Sweep): void {
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
    if (exists(database, 'files', sha256)) continue;
    sweep.files.push(sha256);
    sweep.freedBytes += size;
  }
}

function sweepLayers({ database, holds }: GcPlace, unusedSinceMs: number, sweep: Sweep): void {
  const unused = database.all<{ digest: string; bytes: number }>(
    `SELECT digest, bytes FROM layers WHERE digest NOT IN (SELECT layer FROM image_layers) AND NOT EXISTS
       (SELECT 1 FROM layer_sources WHERE layer = digest AND used_at >= ? AND source LIKE '${INJECTED}%')`,
    unusedSinceMs,
  );
  for (const { digest, bytes } of unused) {
    if (holds.isHeld(digest)) continue;
    database.run('DELETE FROM layers WHERE digest = ?', digest);
    sweep.layers.push(digest);
    sweep.freedBytes += bytes;
  }
}

/** Drops output only: how a process was started and how it ended stays. */
function sweepOutput(database: Database, unusedSinceMs: number, sweep: Sweep): void {
  const old = 'SELECT uuid FROM operations WHERE finished_at < ? AND output_dropped = 0';
  const output = `type IN ('stdout', 'stderr') AND operation IN (${old})`;
  const sum = `SELECT coalesce(sum(length(bytes)), 0) AS bytes FROM events WHERE ${output}`;
  sweep.freedBytes += database.get<{ bytes: number }>(sum, unusedSinceMs)?.bytes ?? 0;
  const marked = `UPDATE operations SET output_dropped = 1 WHERE finished_at < ? AND output_dropped = 0`;
  sweep.events += database.run(`DELETE FROM events WHERE ${output}`, unusedSinceMs);
  database.run(marked, unusedSinceMs);
}

/** Takes files out of their place at once; removing a big file takes a while. */
function moveAway({ tmp }: GcPlace, directory: string, names: readonly string[]): string[] {
  const moved: string[] = [];
  for (const name of names) {
    const target = join(tmp, `garbage-${randomUUID()}`);
    try {
      renameSync(join(directory, name), target);
      moved.push(target);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
  return moved;
}

/** Files that no row names and nobody is about to name. */
async function orphans(place: GcPlace, table: 'layers' | 'files', request: GcRequest): Promise<string[]> {
  const column = table === 'layers' ? 'digest' : 'sha256';
  const known = new Set(
    place.database.all<{ name: string }>(`SELECT ${column} AS name FROM ${table}`).map(({ name }) => name),
  );
  const bornBeforeMs = Date.now() - (request.orphanAgeMs ?? ORPHAN_AGE_MS);
  const old: string[] = [];
  for (const name of await readdir(place[table])) {
    if (known.has(name)) continue;
    const stats = await stat(join(place[table], name)).catch(() => undefined);
    if (stats !== undefined && stats.ctimeMs <= bornBeforeMs) old.push(name);
  }
  // Asked again: somebody may have published it since.
  return old.filter((name) => !place.holds.isHeld(name) && !exists(place.database, table, name));
}

function exists(database: Database, table: 'layers' | 'files', name: string): boolean {
  const column = table === 'layers' ? 'digest' : 'sha256';
  return database.get(`SELECT 1 FROM ${table} WHERE ${column} = ?`, name) !== undefined;
}
