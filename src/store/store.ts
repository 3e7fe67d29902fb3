import { access, mkdir, rm, stat } from 'node:fs/promises';
import { constants, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GcReport } from '../contract/contree.ts';
import { fault, isFault } from '../contract/errors.ts';
import { Database, type TransactionOptions } from './database.ts';
import { diskFault, emptyDirectory } from './disk.ts';
import { EventStore } from './events.ts';
import { FileStore } from './files.ts';
import { collectGarbage, type GcRequest } from './gc.ts';
import { Holds } from './holds.ts';
import { ImageStore } from './images.ts';
import { ImportStore } from './imports.ts';
import { LayerStore } from './layers.ts';
import { OperationStore } from './operations.ts';
import { StateStore } from './states.ts';
import { TagStore } from './tags.ts';

export interface StoreTransactionOptions extends TransactionOptions {
  /** Must succeed even on a full disk: may use the space reserved for it. For the end of an operation. */
  readonly essential?: boolean;
}

/** Space kept free so that on a full disk operations can still end and say why. */
const RESERVE_BYTES = 4 * 1024 * 1024;

/**
 * Everything durable on the host, in one directory that one process owns (`docs/data-dir.md` tells the life of each
 * file). Content-addressed things are published before anything refers to them; a crash leaves at most garbage.
 *
 * Words: a `layer` is one immutable EROFS file, a `file` one uploaded content, a `state` a synced set of files, a
 * `hold` keeps what is being used from gc.
 */
export class Store implements AsyncDisposable {
  /** Absolute path of the data directory. */
  readonly directory: string;
  readonly layers: LayerStore;
  readonly images: ImageStore;
  readonly tags: TagStore;
  readonly imports: ImportStore;
  readonly files: FileStore;
  readonly states: StateStore;
  readonly operations: OperationStore;
  readonly events: EventStore;
  readonly #database: Database;
  readonly #holds = new Holds();

  private constructor(directory: string, database: Database) {
    const [layers, files, tmp] = [join(directory, 'layers'), join(directory, 'files'), join(directory, 'tmp')];
    this.directory = directory;
    this.#database = database;
    this.tags = new TagStore(database);
    this.imports = new ImportStore(database);
    this.layers = new LayerStore(database, this.#holds, { layers, tmp });
    this.images = new ImageStore(database, this.#holds, this.tags);
    this.files = new FileStore(database, this.#holds, { files, tmp });
    this.states = new StateStore(database, this.#holds, this.files);
    this.operations = new OperationStore(database);
    this.events = new EventStore(database);
  }

  /**
   * Opens or makes the data directory. Rejects with STORE_LOCKED while another process owns it, with
   * STORE_VERSION_UNSUPPORTED when a newer version wrote it, with CONFIG_INVALID when the place cannot be written to,
   * with STORE_CORRUPT or DISK_FULL.
   */
  static async open(directory: string): Promise<Store> {
    await makeDirectories(directory);
    const database = Database.open(join(directory, 'store.sqlite'), join(directory, 'lock'));
    try {
      await emptyDirectory(join(directory, 'tmp'));
      const store = new Store(directory, database);
      await store.#reserve();
      return store;
    } catch (error) {
      database[Symbol.dispose]();
      throw error;
    }
  }

  /** Scratch space on the same file system; emptied by every open. */
  get tmp(): string {
    return join(this.directory, 'tmp');
  }

  /** Keeps from gc what is looked up or published until it is disposed. */
  hold(): Disposable {
    return this.#holds.hold();
  }

  /**
   * All that `body` writes, and the events appended before and in it, or nothing. Makes several things visible at
   * once, such as a result image with the end of its operation. `body` must not wait.
   */
  transaction<Value>(body: () => Value, options: StoreTransactionOptions = {}): Value {
    try {
      return this.#transaction(body, options);
    } catch (error) {
      if (options.essential !== true || !isFault(error, 'DISK_FULL')) throw error;
      rmSync(this.#reservePath, { force: true });
      this.events.dropQueuedOutput();
      return this.#transaction(body, options);
    }
  }

  async gc(request: GcRequest, signal?: AbortSignal): Promise<GcReport> {
    const { tmp } = this;
    const [layers, files] = [join(this.directory, 'layers'), join(this.directory, 'files')];
    const place = { database: this.#database, holds: this.#holds, layers, files, tmp };
    // Freeing space takes some; on a full disk that is what the reserve is for.
    if (!request.dryRun) rmSync(this.#reservePath, { force: true });
    try {
      return await collectGarbage(place, request, signal);
    } finally {
      await this.#reserve();
    }
  }

  /** What is wrong with the database file itself; empty when it is whole. */
  check(): string[] {
    return this.#database.check();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#database.open) return;
    this.events[Symbol.dispose]();
    this.#database[Symbol.dispose]();
    await rm(join(this.directory, 'lock'), { force: true });
  }

  #transaction<Value>(body: () => Value, options: TransactionOptions): Value {
    const undo = this.events.checkpoint();
    try {
      return this.#database.transaction(() => {
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

  /** Best effort: a disk that has no room for the reserve has none to lose. */
  async #reserve(): Promise<void> {
    const stats = await stat(this.#reservePath).catch(() => undefined);
    if (stats?.size === RESERVE_BYTES) return;
    try {
      writeFileSync(this.#reservePath, Buffer.alloc(RESERVE_BYTES, 1), { mode: 0o600 });
    } catch {
      rmSync(this.#reservePath, { force: true });
    }
  }
}

async function makeDirectories(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const name of ['layers', 'files', 'tmp']) await mkdir(join(directory, name), { recursive: true, mode: 0o700 });
    await access(directory, constants.W_OK);
  } catch (error) {
    const known = diskFault(error);
    if (isFault(known) || !(error instanceof Error)) throw known;
    throw fault('CONFIG_INVALID', { setting: 'data-dir', reason: error.message }, { cause: error });
  }
}
