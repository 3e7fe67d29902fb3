import type { EngineLog } from '../../engine/log.ts';
import { collectObjects } from '../catalogue/collect.ts';
import type { ClusterDatabase } from '../catalogue/database.ts';
import type { ObjectStore } from '../objects/object-store.ts';

/** Interval at which a node looks whether it is time, and that of collections, which one node does for all. */
const LOOK_EVERY_MS = 600_000;
const COLLECT_EVERY = '6 hours';
/** Longer than an upload and a publication take. */
const SPARE_SECONDS = 24 * 3_600;

/** Deletes what nothing in the catalogue refers to from the object storage, now and then, on one node at a time. */
export class Janitor implements AsyncDisposable {
  readonly #database: ClusterDatabase;
  readonly #objects: ObjectStore;
  readonly #log: EngineLog;
  readonly #timer: NodeJS.Timeout;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(database: ClusterDatabase, objects: ObjectStore, log: EngineLog) {
    this.#database = database;
    this.#objects = objects;
    this.#log = log;
    this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS).unref();
  }

  /** Collects if it is time and no other node does. */
  look(): void {
    this.#running = this.#running.then(async () => {
      try {
        await this.#collect();
      } catch (error) {
        if (!this.#stop.signal.aborted) this.#log.warn({ err: error }, 'unused objects could not be deleted');
      }
    });
  }

  /** Waits for the collection that `look` has started. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort(new Error('the node stops'));
    await this.#running;
  }

  async #collect(): Promise<void> {
    const { signal } = this.#stop;
    signal.throwIfAborted();
    const turn = `UPDATE catalogue SET collected_at = now() WHERE collected_at < now() - interval '${COLLECT_EVERY}'`;
    if ((await this.#database.run(turn)) === 0) return;
    const collected = await collectObjects(this.#database, this.#objects, { spareSeconds: SPARE_SECONDS }, signal);
    this.#log.info({ ...collected }, 'deleted objects that nothing refers to');
  }
}
