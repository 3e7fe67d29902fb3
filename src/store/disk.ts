import { randomBytes } from 'node:crypto';
import { type BigIntStats, readFileSync, writeFileSync } from 'node:fs';
import { open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fault, type ContreeError } from '../contract/errors.ts';

/** SQLite result codes (its low byte) that mean the same as ENOSPC and EIO. */
const SQLITE_FULL = 13;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

const SECRET_BYTES = 32;

function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

export function isMissing(error: unknown): boolean {
  return hasCode(error, 'ENOENT');
}

/** Returns the primary result code of an SQLite error; undefined for any other error. */
export function sqliteCode(error: unknown): number | undefined {
  if (!hasCode(error, 'ERR_SQLITE_ERROR') || !(error instanceof Error) || !('errcode' in error)) return undefined;
  return Number(error.errcode) & 0xff;
}

/** Returns the fault for an error of the disk or of SQLite; returns any other error unchanged. */
export function diskFault(error: unknown): unknown {
  if (hasCode(error, 'ENOSPC', 'EDQUOT')) return fault('DISK_FULL', {}, { cause: error });
  const code = sqliteCode(error);
  if (code === SQLITE_FULL) return fault('DISK_FULL', {}, { cause: error });
  if (code === SQLITE_IOERR || code === SQLITE_CORRUPT || code === SQLITE_NOTADB) {
    return fault('STORE_CORRUPT', { what: 'store.sqlite', reason: (error as Error).message }, { cause: error });
  }
  return error;
}

/** Runs a step that writes to the disk; a full disk becomes DISK_FULL, a file removed meanwhile STORE_CORRUPT. */
export async function writing<Value>(step: () => Promise<Value>): Promise<Value> {
  try {
    return await step();
  } catch (error) {
    throw isMissing(error) ? removed('a file being written', error) : diskFault(error);
  }
}

/** Returns the fault for what something else than the engine removed from the data directory. */
export function removed(what: string, cause: unknown): ContreeError {
  return fault('STORE_CORRUPT', { what, reason: 'it was removed' }, { cause });
}

/** Syncs a file or a directory, so that its bytes or names survive a power cut. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes everything inside a directory. */
export async function emptyDirectory(path: string): Promise<void> {
  for (const name of await readdir(path)) await rm(join(path, name), { recursive: true, force: true });
}

/**
 * Returns a value that changes with every write to the file, to detect writes without reading it: the time of its last
 * change (ctime), which its owner cannot set back as he can the time of modification.
 */
export function modificationOf(stats: BigIntStats): string {
  return String(stats.ctimeNs);
}

/** Returns the secret in a file, which is made, with mode 0600, where it is missing or cut short. Throws DISK_FULL. */
export function readSecret(path: string): Buffer {
  try {
    const found = readFileSync(path);
    if (found.byteLength === SECRET_BYTES) return found;
  } catch (error) {
    if (!isMissing(error)) throw diskFault(error);
  }
  const made = randomBytes(SECRET_BYTES);
  try {
    writeFileSync(path, made, { mode: 0o600 });
  } catch (error) {
    throw diskFault(error);
  }
  return made;
}
