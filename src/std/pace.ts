import { setImmediate } from 'node:timers/promises';

/** Steps between two reads of the clock. */
const STEPS = 256;
/** Longest time one piece of work may block everything else. */
const TURN_MS = 10;

/**
 * Yields to other work of the process during a long computation: `if (pace.due()) await pace.rest();` at every step.
 */
export class Pace {
  #steps = 0;
  #turnStartedMs = performance.now();

  /** Reports whether this turn has lasted long enough. */
  due(): boolean {
    if (++this.#steps % STEPS !== 0) return false;
    return performance.now() - this.#turnStartedMs > TURN_MS;
  }

  async rest(): Promise<void> {
    await setImmediate();
    this.#turnStartedMs = performance.now();
  }
}
