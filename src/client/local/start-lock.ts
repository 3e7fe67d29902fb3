import type { DatabaseSync } from 'node:sqlite';

const SQLITE_BUSY = 5;

/**
 * Takes a lock between processes that the kernel releases when its holder dies: an exclusive transaction on an empty
 * SQLite file, because Node has no file locks. Returns undefined while another process holds it. The folder must exist.
 */
export function tryLock(path: string): Disposable | undefined {
  const database = openDatabase(path);
  try {
    // A journal on the disk would need room there, and the user of a full disk needs an engine to free some.
    database.exec('PRAGMA journal_mode=MEMORY');
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined;
    throw error;
  }
  return { [Symbol.dispose]: () => database.close() };
}

/** Suppresses the warning that Node 22 prints when SQLite is loaded: users of the client cannot act on it. */
function openDatabase(path: string): DatabaseSync {
  const emitWarning: unknown = Reflect.get(process, 'emitWarning');
  process.emitWarning = () => undefined;
  try {
    const { DatabaseSync: Database } = process.getBuiltinModule('node:sqlite');
    return new Database(path, { timeout: 0 });
  } finally {
    Reflect.set(process, 'emitWarning', emitWarning);
  }
}
