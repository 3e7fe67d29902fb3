import type { Queue } from '../queue/queue.ts';
import type { Executor } from './executor.ts';
import type { NodeParts } from './parts.ts';

/** Operations that are being prepared at once: images are fetched meanwhile. */
const PREPARED_MAX = 4;
/** Operations that wait in the engine's own queue, so that a place that becomes free is taken at once. */
const AHEAD_MAX = 2;
/** Operations that a node has at most, of all kinds. */
const HELD_MAX = 256;
/** Time after which the queue is looked at although nothing was heard. */
const LOOK_MS = 1_000;
/** The same while something waits that was left to others. */
const LOOK_AGAIN_MS = 100;

/** Takes operations from the queue as long as the own engine has room for them. */
export class Worker implements AsyncDisposable {
  readonly #parts: NodeParts;
  readonly #queue: Queue;
  readonly #executor: Executor;
  readonly #hasLease: () => boolean;
  readonly #stop = new AbortController();
  readonly #executing = new Set<Promise<void>>();
  #preparing = 0;
  #awake = Promise.withResolvers<void>();
  #loop: Promise<void> | undefined;

  constructor(
    parts: NodeParts,
    {
      queue,
      executor,
      hasLease,
    }: {
      readonly queue: Queue;
      readonly executor: Executor;
      readonly hasLease: () => boolean;
    },
  ) {
    this.#parts = parts;
    this.#queue = queue;
    this.#executor = executor;
    this.#hasLease = hasLease;
  }

  start(): void {
    this.#loop = this.#work();
  }

  /** Looks at the queue now. */
  wake(): void {
    this.#awake.resolve();
  }

  /** Takes nothing more; operations that run go on. */
  async rest(): Promise<void> {
    this.#stop.abort();
    this.wake();
    await this.#loop;
  }

  /** Takes nothing more, and waits for the end of what is executed. The engine ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.rest();
    await Promise.allSettled(this.#executing);
  }

  async #work(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const later = await this.#take();
      await this.#sleep(later ? LOOK_AGAIN_MS : LOOK_MS);
    }
  }

  /** Claims as much as there is room for. Returns true when something waits that may soon be taken. */
  async #take(): Promise<boolean> {
    try {
      for (;;) {
        const room = this.#room();
        if (room <= 0 || this.#stop.signal.aborted || !this.#hasLease()) return false;
        const { claims, later } = await this.#queue.claim(room, this.#parts.adoption.images);
        for (const claim of claims) this.#execute(claim);
        if (claims.length === 0) return later;
      }
    } catch (error) {
      this.#parts.log.warn({ err: error }, 'the queue could not be read');
      return false;
    }
  }

  #execute(claim: Parameters<Executor['execute']>[0]): void {
    this.#parts.claims.add(claim);
    this.#preparing += 1;
    let isPreparing = true;
    const prepared = (): void => {
      if (isPreparing) this.#preparing -= 1;
      isPreparing = false;
      this.wake();
    };
    const executing = this.#executor.execute(claim, prepared, this.#stop.signal);
    this.#executing.add(executing);
    void executing.finally(() => {
      this.#executing.delete(executing);
      this.wake();
    });
  }

  #room(): number {
    const { runs, imports } = this.#parts.engine.queues;
    const ahead = AHEAD_MAX - runs.waiting - imports.waiting;
    return Math.min(PREPARED_MAX - this.#preparing, ahead - this.#preparing, HELD_MAX - this.#executing.size);
  }

  async #sleep(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    timer.unref();
    await Promise.race([this.#awake.promise, promise]);
    clearTimeout(timer);
    this.#awake = Promise.withResolvers<void>();
  }
}
