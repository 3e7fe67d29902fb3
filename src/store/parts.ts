import { rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isFault } from '../contract/errors.ts';
import type { Database, TransactionOptions } from './database.ts';
import { EventStore } from './events.ts';
import { Holds } from './gc/holds.ts';
import { StackStore } from './stacks.ts';

export interface StoreTransactionOptions extends TransactionOptions {
  /** Must succeed even on a full disk: may use the space reserved for it. For the end of an operation. */
  readonly essential?: boolean;
}

/** Space kept free so that on a full disk operations can still end and say why. */
const RESERVE_BYTES = 4 * 1024 * 1024;

/** What the projects of a data directory share. */
export class StoreParts implements Disposable {
  /** Absolute path of the data directory. */
  readonly directory: string;
  readonly database: Database;
  readonly holds = new Holds();
  readonly events: EventStore;
  readonly stacks: StackStore;

  constructor(directory: string, database: Database) {
    this.directory = directory;
    this.database = database;
    this.events = new EventStore(database);
    this.stacks = new StackStore(database, this.holds);
  }

  get tmp(): string {
    return join(this.directory, 'tmp');
  }

  /** `Store.transaction`. */
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

  /** Best effort: a disk that has no room for the reserve has none to lose. */
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
