import { renameSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import type { GcReport } from '../../contract/server.ts';
import { isFault } from '../../contract/errors.ts';
import type { Database } from '../database.ts';
import { isMissing } from '../disk.ts';
import { type Sweep, sweepUnneeded, type SweepPlace, type SweepRequest } from './sweep.ts';

export interface CollectionRequest extends SweepRequest {
  readonly dryRun: boolean;
  /** Age from which a file without a row is a leftover of a crash; a younger one may be about to be published. */
  readonly orphanAgeMs?: number;
  /** Called for each layer file that is about to be removed, so that it is closed. */
  readonly onRemove?: (path: string) => Promise<void>;
}

/** The report of the store alone. */
export type StoreReport = Omit<GcReport, 'templates' | 'freed_memory_bytes' | 'used_memory_bytes'>;

export interface GcPlace extends SweepPlace {
  readonly layers: string;
  readonly files: string;
  readonly tmp: string;
}

const ORPHAN_AGE_MS = 3_600_000;
const VACUUM_PAGES = 256;

/** Exception that carries the result out of a transaction that is rolled back. */
class DryRun extends Error {
  readonly sweep: Sweep;

  constructor(sweep: Sweep) {
    super('dry run');
    this.sweep = sweep;
  }
}

/**
 * Frees everything unused in all projects: rows first, durably, then their files. Held items stay, so runs and imports
 * may continue meanwhile. A crash in between leaves files without rows, which the next gc removes.
 */
export async function collectGarbage(
  place: GcPlace,
  request: CollectionRequest,
  signal?: AbortSignal,
): Promise<StoreReport> {
  const sweep = sweepRows(place, request);
  if (!request.dryRun) {
    // In the same tick as the commit, so that the same content cannot be published in between.
    const doomed = [...moveAway(place, place.layers, sweep.layers), ...moveAway(place, place.files, sweep.files)];
    if (request.sharedOnly !== true) {
      doomed.push(...moveAway(place, place.layers, await orphans(place, 'layers', request)));
      doomed.push(...moveAway(place, place.files, await orphans(place, 'files', request)));
    }
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

/** Returns unused pages of the database to the file system. Best effort: on a completely full disk it may fail. */
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

function sweepRows(place: GcPlace, request: CollectionRequest): Sweep {
  try {
    return place.database.transaction(
      () => {
        const sweep = sweepUnneeded(place, request);
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

/** Renames files away immediately, because removing a large file takes time. */
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

/** Returns files that no row refers to or is about to refer to. */
async function orphans(place: GcPlace, table: 'layers' | 'files', request: CollectionRequest): Promise<string[]> {
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
  // Checked again: it may have been published since.
  return old.filter((name) => !place.holds.isHeld(name) && !exists(place.database, table, name));
}

function exists(database: Database, table: 'layers' | 'files', name: string): boolean {
  const column = table === 'layers' ? 'digest' : 'sha256';
  return database.get(`SELECT 1 FROM ${table} WHERE ${column} = ?`, name) !== undefined;
}
