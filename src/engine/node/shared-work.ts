import { untilAborted } from '../../std/abort.ts';

interface Job {
  readonly done: Promise<void>;
  readonly controller: AbortController;
  users: number;
}

/** Work that several may want at the same time and that is done once for all of them. */
export class SharedWork<Key> {
  readonly #jobs = new Map<Key, Job>();

  /**
   * Joins the work of that key, or starts it. It is aborted when nobody wants it any more; the last one to leave waits for
   * its end. Rejects with the work's error or the reason of the caller's signal.
   */
  async run(key: Key, work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const job = this.#jobs.get(key) ?? this.#start(key, work);
    job.users += 1;
    try {
      await untilAborted(job.done, signal);
    } finally {
      job.users -= 1;
      if (job.users === 0 && signal.aborted) {
        this.#leave(key, job);
        job.controller.abort(signal.reason);
        await job.done.catch(() => undefined);
      }
    }
  }

  #start(key: Key, work: (signal: AbortSignal) => Promise<void>): Job {
    const controller = new AbortController();
    const job: Job = { done: work(controller.signal).finally(() => this.#leave(key, job)), controller, users: 0 };
    this.#jobs.set(key, job);
    return job;
  }

  /** Lets the next one start anew. */
  #leave(key: Key, job: Job): void {
    if (this.#jobs.get(key) === job) this.#jobs.delete(key);
  }
}
