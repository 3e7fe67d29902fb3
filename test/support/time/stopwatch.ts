/* Stopwatches for limits that must hold on a busy machine: neither counts time in which this process had no core. */

const TICK_MS = 10;

/** Starts a stopwatch of CPU time. Returns a function that reads the milliseconds used by all threads since then. */
export function startCpuWatch(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  };
}

/** Stopwatch of the time in which the event loop was scheduled, computing or waiting; runs until it is disposed. */
export class LoopWatch implements Disposable {
  #ticks = 0;
  /** Missed ticks are not made up for. */
  readonly #timer = setInterval(() => (this.#ticks += 1), TICK_MS).unref();

  get ms(): number {
    return this.#ticks * TICK_MS;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
