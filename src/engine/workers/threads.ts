import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { JobResult, AnswerJob, StreamJob } from './jobs.ts';
import { Places } from './places.ts';
import { Thread } from './thread.ts';

/** Number of idle threads that are kept, and for how long. */
const IDLE_MAX = 2;
const IDLE_MS = 60_000;

/**
 * Runs jobs that take long or much memory in threads, so that they cannot block the engine: a limited number of jobs at
 * once, fairly between projects, each terminated at its deadline.
 */
export class Threads implements AsyncDisposable {
  readonly #answers = new Places({
    atOnce: limits.inspectionsAtOnce,
    perProject: limits.inspectionsPerProject,
    waitingPerProject: limits.inspectionsWaitingPerProject,
  });
  readonly #streams = new Places({
    atOnce: limits.inspectionStreamsAtOnce,
    perProject: limits.inspectionStreamsPerProject,
    waitingPerProject: limits.inspectionsWaitingPerProject,
  });
  readonly #all = new Set<Thread>();
  readonly #idle: Thread[] = [];
  #idleTimer: NodeJS.Timeout | undefined;
  /** Threads that were begun before layers were removed, and may keep those open. */
  readonly #outdated = new WeakSet<Thread>();

  /** Runs a job of a project. Rejects with its fault, INSPECTION_LIMIT, INSPECTION_BUSY, or the signal's reason. */
  async answer<Job extends AnswerJob>(project: string, job: Job, signal?: AbortSignal): Promise<JobResult<Job>> {
    using _place = await this.#answers.enter(project, signal);
    const thread = this.#take();
    try {
      return await thread.answer(job, signal);
    } finally {
      this.#giveBack(thread);
    }
  }

  /**
   * Streams the result of a job of a project, produced as it is read, starting with the first read. Faults: those of
   * `answer`.
   */
  async *stream(project: string, job: StreamJob, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    using place = await this.#streams.enter(project, signal);
    const thread = this.#take();
    const limit = limits.inspectionStallSecondsMax;
    const stall = (): void => {
      void thread.end(fault('INSPECTION_LIMIT', { what: 'seconds without a reader', limit }));
      place[Symbol.dispose]();
    };
    try {
      for await (const piece of thread.stream(job, signal)) {
        const timer = setTimeout(stall, limit * 1_000).unref();
        try {
          yield piece;
        } finally {
          clearTimeout(timer);
        }
      }
    } finally {
      this.#giveBack(thread);
    }
  }

  /** Ends every thread, when it has done its job, so that layers which were removed give back their space. */
  renew(): void {
    for (const thread of this.#all) this.#outdated.add(thread);
    for (const idle of this.#idle.splice(0)) this.#end(idle);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#idleTimer);
    const ended = [...this.#all].map((thread) => thread.end(new Error('the engine stops')));
    await Promise.all(ended);
  }

  #take(): Thread {
    const thread = this.#idle.pop() ?? new Thread();
    this.#all.add(thread);
    return thread;
  }

  #giveBack(thread: Thread): void {
    const isKept = thread.isAlive && !this.#outdated.has(thread) && this.#idle.length < IDLE_MAX;
    if (isKept) this.#idle.push(thread);
    else this.#end(thread);
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      for (const idle of this.#idle.splice(0)) this.#end(idle);
    }, IDLE_MS).unref();
  }

  #end(thread: Thread): void {
    this.#all.delete(thread);
    void thread.end(new Error('it is not needed'));
  }
}
