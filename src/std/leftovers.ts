import { collect } from './collector.ts';

/** At rest a pause of 50 ms hurts nobody, but costs a laptop's battery. */
const AT_REST_BYTES = 16 * 1024 * 1024;
/** Worth that pause in the middle of work, at most once in this time. */
const AT_WORK_BYTES = 64 * 1024 * 1024;
const AT_WORK_EVERY_MS = 60_000;

/**
 * What start and work leave in memory although nobody needs it. V8 frees it with the work to come and keeps the pages. This frees it
 * and gives the pages back to the system when they have become many since last time: at rest, and now and then at work.
 */
export class Leftovers implements Disposable {
  readonly #timer = setInterval(() => this.#clear(AT_WORK_BYTES), AT_WORK_EVERY_MS).unref();
  #keptBytes = 0;

  /** To be called when there is nothing to do. */
  rest(): void {
    this.#clear(AT_REST_BYTES);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #clear(worthBytes: number): void {
    if (process.memoryUsage.rss() < this.#keptBytes + worthBytes) return;
    collect('thoroughly');
    this.#keptBytes = process.memoryUsage.rss();
  }
}
