/*
 * Stopwatches for bounds that a busy machine must not break: neither counts time in which this process had no core.
 */

const TICK_MS = 10;

/** Starts a stopwatch of computing time. Returns a function that tells the milliseconds all threads have used since. */
export function startCpuWatch(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  };
}

/** Stopwatch of the time in which the event loop went round, computing or waiting; runs until it is disposed of. */
export class LoopWatch implements Disposable {
  #ticks = 0;
  /** Ticks that were missed are not made up for. */
  readonly #timer = setInterval(() => (this.#ticks += 1), TICK_MS).unref();

  get ms(): number {
    return this.#ticks * TICK_MS;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
