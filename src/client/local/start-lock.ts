import type { DatabaseSync } from 'node:sqlite';

const SQLITE_BUSY = 5;

/**
 * A lock between processes that the kernel drops when its holder dies, however it dies: an exclusive transaction on an
 * otherwise empty SQLite file, because Node itself offers no file locks. Returns undefined while another process holds
 * it. The folder must exist.
 */
export function tryLock(path: string): Disposable | undefined {
  const database = openDatabase(path);
  try {
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined;
    throw error;
  }
  return { [Symbol.dispose]: () => database.close() };
}

/** Node 22 warns of its SQLite when it is loaded. Programs that use us did not ask for it, and cannot do anything about it. */
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
