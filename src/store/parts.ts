import { createSecretKey, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isFault } from '../contract/errors.ts';
import type { Database, TransactionOptions } from './database.ts';
import { diskFault, isMissing, readSecret, removed } from './disk.ts';
import { EventStore } from './events.ts';
import { Holds } from './gc/holds.ts';
import { StackStore } from './stacks.ts';

export interface StoreTransactionOptions extends TransactionOptions {
  /**
   * True for a transaction that must succeed even on a full disk, such as the end of an operation: it may use the
   * reserve.
   */
  readonly essential?: boolean;
}

/** Folders of a data directory. */
export const STORE_FOLDERS = ['layers', 'files', 'tmp'] as const;
type StoreFolder = (typeof STORE_FOLDERS)[number];

/** Space reserved so that operations can still end with a reason on a full disk. */
const RESERVE_BYTES = 4 * 1024 * 1024;

/** Parts of the store shared by the projects of a data directory. */
export class StoreParts implements Disposable {
  /** Absolute path of the data directory. */
  readonly directory: string;
  readonly database: Database;
  readonly holds = new Holds();
  readonly events: EventStore;
  readonly stacks: StackStore;
  #reuseSecret: KeyObject | undefined;

  constructor(directory: string, database: Database) {
    this.directory = directory;
    this.database = database;
    this.events = new EventStore(database);
    this.stacks = new StackStore(database, this.holds);
  }

  /** Returns the key with which requests of runs are hashed, made at its first use. It is in no copy of the database. */
  get reuseSecret(): KeyObject {
    this.#reuseSecret ??= createSecretKey(readSecret(join(this.directory, 'reuse.key')));
    return this.#reuseSecret;
  }

  /**
   * Returns a folder of the data directory to write into. One that was removed meanwhile is made again: what was in it is
   * missed where it is read. Throws STORE_CORRUPT when the data directory itself is gone.
   */
  folder(name: StoreFolder): string {
    const path = join(this.directory, name);
    if (existsSync(path)) return path;
    try {
      mkdirSync(path, { mode: 0o700 });
      return path;
    } catch (error) {
      throw isMissing(error) ? removed('everything', error) : diskFault(error);
    }
  }

  /** Runs `Store.transaction`. */
  transaction<Value>(body: () => Value, options: StoreTransactionOptions): Value {
    try {
      return this.#transaction(body, options);
    } catch (error) {
      if (options.essential !== true || !isFault(error, 'DISK_FULL')) throw error;
      this.giveReserve();
      this.events.dropQueuedOutput();
      return this.#transaction(body, options);
    }
  }

  /** Allocates the reserve if there is room. */
  async takeReserve(): Promise<void> {
    const stats = await stat(this.#reservePath).catch(() => undefined);
    if (stats?.size === RESERVE_BYTES) return;
    try {
      writeFileSync(this.#reservePath, Buffer.alloc(RESERVE_BYTES, 1), { mode: 0o600 });
    } catch {
      rmSync(this.#reservePath, { force: true });
    }
  }

  giveReserve(): void {
    rmSync(this.#reservePath, { force: true });
  }

  [Symbol.dispose](): void {
    this.events[Symbol.dispose]();
    this.database[Symbol.dispose]();
  }

  #transaction<Value>(body: () => Value, options: TransactionOptions): Value {
    const undo = this.events.checkpoint();
    try {
      return this.database.transaction(() => {
        const value = body();
        this.events.flush();
        return value;
      }, options);
    } catch (error) {
      undo();
      throw error;
    }
  }

  get #reservePath(): string {
    return join(this.directory, 'reserve');
  }
}
