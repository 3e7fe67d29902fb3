import { setImmediate } from 'node:timers/promises';

/** Steps between two looks at the clock. */
const STEPS = 256;
/** How long one piece of work may keep everything else waiting. */
const TURN_MS = 10;

/** Lets other work of the process in during a long computation: `if (pace.due()) await pace.rest();` at every step. */
export class Pace {
  #steps = 0;
  #turnStartedMs = performance.now();

  /** Whether this turn has lasted long enough. */
  due(): boolean {
    if (++this.#steps % STEPS !== 0) return false;
    return performance.now() - this.#turnStartedMs > TURN_MS;
  }

  async rest(): Promise<void> {
    await setImmediate();
    this.#turnStartedMs = performance.now();
  }
}
