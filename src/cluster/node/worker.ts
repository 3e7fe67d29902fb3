import type { Executor } from './executor.ts';
import type { NodeParts } from './parts.ts';

/** Operations that are being prepared at once: images are fetched meanwhile. */
const PREPARED_MAX = 16;
/**
 * Operations that are claimed beyond the places that are free, so that one that becomes free is taken at once: at least so
 * many, and as many as ended lately, because those that are short are claimed together.
 */
const AHEAD = { atLeast: 2, atMost: 16, endedWithinMs: 100 } as const;
/** Operations that a node has at most, of all kinds. */
const HELD_MAX = 256;
/** Time after which the queue is looked at although nothing was heard. */
const LOOK_MS = 1_000;
/** The same while something waits that was left to others. */
const LOOK_AGAIN_MS = 100;

/** Takes operations from the queue as long as the own engine has room for them. */
export class Worker implements AsyncDisposable {
  readonly #parts: NodeParts;
  readonly #executor: Executor;
  readonly #hasLease: () => boolean;
  readonly #stop = new AbortController();
  readonly #executing = new Set<Promise<void>>();
  /** Times of the last ends, oldest first. */
  readonly #endedMs: number[] = [];
  #preparing = 0;
  /** True when something may wait that was not looked at, for lack of room or because it is new. */
  #mayWait = true;
  #awake = Promise.withResolvers<void>();
  #loop: Promise<void> | undefined;

  constructor(
    parts: NodeParts,
    {
      executor,
      hasLease,
    }: {
      readonly executor: Executor;
      readonly hasLease: () => boolean;
    },
  ) {
    this.#parts = parts;
    this.#executor = executor;
    this.#hasLease = hasLease;
  }

  start(): void {
    this.#loop = this.#work();
  }

  /** Looks at the queue as soon as there is room: something new may wait. */
  wake(): void {
    this.#mayWait = true;
    this.#awake.resolve();
  }

  /** Reports whether an operation with that image would be taken at once. */
  takes(image: string | undefined): boolean {
    if (this.#stop.signal.aborted || !this.#hasLease() || this.#room() <= 0) return false;
    return image === undefined || this.#parts.adoption.has(image);
  }

  /** Takes nothing more; operations that run go on. */
  async rest(): Promise<void> {
    this.#stop.abort();
    this.#awake.resolve();
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
        this.#mayWait = false;
        const { claims, later } = await this.#parts.queue.claim(room, this.#parts.adoption.images);
        if (claims.length === room) this.#mayWait = true;
        for (const claim of claims) this.#execute(claim);
        if (!this.#mayWait) return later;
      }
    } catch (error) {
      this.#mayWait = true;
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
      this.#makeRoom();
    };
    const executing = this.#executor.execute(claim, prepared, this.#stop.signal);
    this.#executing.add(executing);
    void executing.finally(() => {
      this.#executing.delete(executing);
      this.#endedMs.push(performance.now());
      if (this.#endedMs.length > AHEAD.atMost) this.#endedMs.shift();
      this.#makeRoom();
    });
  }

  /** Looks again when something may have waited for room. */
  #makeRoom(): void {
    if (this.#mayWait) this.#awake.resolve();
  }

  /** Returns how many operations to claim. While there are some ahead, it waits until several can be claimed together. */
  #room(): number {
    const { queues, spareRuns } = this.#parts.engine;
    const sinceMs = performance.now() - AHEAD.endedWithinMs;
    const most = Math.max(AHEAD.atLeast, this.#endedMs.filter((endedMs) => endedMs > sinceMs).length);
    const ahead = queues.runs.waiting + queues.imports.waiting + this.#preparing - spareRuns;
    const room = Math.min(PREPARED_MAX - this.#preparing, most - ahead, HELD_MAX - this.#executing.size);
    return ahead > 0 && room < most / 2 ? 0 : room;
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
