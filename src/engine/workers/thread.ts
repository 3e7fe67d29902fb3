import { Worker } from 'node:worker_threads';
import { fault, faultFromReport } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { JobResult, AnswerJob, StreamJob } from './jobs.ts';
import type { Request, Response } from './message.ts';

/** Number of pieces of a stream that are made ahead of the reader. */
const PIECES_AHEAD = 2;
/** Time for a cancelled job to end by itself. */
const STOP_MS = 500;
/** Part of the heap for new objects, as large as that of the main thread. With less, half of a comparison is collection. */
const YOUNG_MIB = 48;

/** Program of the thread: the source in a clone, the compiled file in the package. */
const PROGRAM = new URL(`./worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

/**
 * Thread that inspects images, one job at a time. Its work cannot block the calling thread, and it can be terminated at
 * any time.
 */
export class Thread {
  readonly #worker: Worker;
  readonly #inbox: Response[] = [];
  #waiting: { readonly resolve: (response: Response) => void; readonly reject: (error: unknown) => void } | undefined;
  /** Reason why it accepts no more jobs. */
  #ended: unknown;

  constructor() {
    this.#worker = new Worker(PROGRAM, {
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: limits.inspectionHeapMibMax, maxYoungGenerationSizeMb: YOUNG_MIB },
    });
    // An open job keeps the process alive, the thread alone does not.
    this.#worker.unref();
    this.#worker.on('message', (response: Response) => this.#take(response));
    this.#worker.on('error', (error: NodeJS.ErrnoException) => this.#fail(reasonOf(error)));
    this.#worker.on('exit', () => this.#fail(new Error('the thread ended')));
  }

  /** Reports whether it accepts another job. */
  get isAlive(): boolean {
    return this.#ended === undefined;
  }

  /** Terminates the thread and its job, whose caller gets the reason. */
  async end(reason: unknown): Promise<void> {
    this.#fail(reason);
    await this.#worker.terminate();
  }

  /**
   * Runs a job. Rejects with its fault, with INSPECTION_LIMIT when it takes too long or too much memory, or with the
   * signal's reason.
   */
  async answer<Job extends AnswerJob>(job: Job, signal: AbortSignal | undefined): Promise<JobResult<Job>> {
    const limit = job.name === 'grep' ? limits.grepStopSecondsMax : limits.inspectionSecondsMax;
    const deadline = setTimeout(
      () => void this.end(fault('INSPECTION_LIMIT', { what: 'seconds', limit })),
      limit * 1_000,
    );
    const stop = (): void => this.#stop();
    signal?.addEventListener('abort', stop, { once: true });
    this.#worker.ref();
    try {
      this.#say({ kind: 'answer', job });
      const response = await this.#receive();
      signal?.throwIfAborted();
      return resultOf(response) as JobResult<Job>;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      this.#worker.unref();
      clearTimeout(deadline);
      signal?.removeEventListener('abort', stop);
    }
  }

  /** Streams the result of a job, produced as it is read. Faults: those of `answer`. */
  async *stream(job: StreamJob, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    let isDone = false;
    const stop = (): void => this.#stop();
    signal?.addEventListener('abort', stop, { once: true });
    this.#worker.ref();
    try {
      this.#say({ kind: 'stream', job });
      for (let ahead = 0; ahead < PIECES_AHEAD; ahead++) this.#say({ kind: 'more' });
      for (;;) {
        const response = await this.#receive();
        signal?.throwIfAborted();
        isDone = response.kind !== 'piece';
        if (response.kind !== 'piece') {
          resultOf(response);
          return;
        }
        yield response.piece;
        this.#say({ kind: 'more' });
      }
    } finally {
      this.#worker.unref();
      signal?.removeEventListener('abort', stop);
      // Pieces of the job may still be in transit; a new thread is cheap.
      if (!isDone) void this.end(new Error('nobody reads the stream'));
    }
  }

  #say(request: Request): void {
    if (this.isAlive) this.#worker.postMessage(request, []);
  }

  #stop(): void {
    this.#say({ kind: 'stop' });
    const waiting = this.#waiting;
    setTimeout(() => {
      if (waiting !== undefined && this.#waiting === waiting) void this.end(new Error('the job did not stop'));
    }, STOP_MS).unref();
  }

  #receive(): Promise<Response> {
    const response = this.#inbox.shift();
    if (response !== undefined) return Promise.resolve(response);
    if (!this.isAlive) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
  }

  #take(response: Response): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#inbox.push(response);
    else waiting.resolve(response);
  }

  #fail(reason: unknown): void {
    this.#ended ??= reason;
    this.#waiting?.reject(this.#ended);
    this.#waiting = undefined;
  }
}

function resultOf(response: Response): unknown {
  if (response.kind === 'fault') throw faultFromReport(response.report) ?? new Error('a thread reported a fault');
  if (response.kind === 'error') throw response.error;
  return response.kind === 'done' ? response.result : undefined;
}

function reasonOf(error: NodeJS.ErrnoException): Error {
  if (error.code !== 'ERR_WORKER_OUT_OF_MEMORY') return error;
  return fault('INSPECTION_LIMIT', { what: 'MiB of memory', limit: limits.inspectionHeapMibMax }, { cause: error });
}
