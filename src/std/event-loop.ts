import { setImmediate as nextTurn } from 'node:timers/promises';

/** Steps between two looks at the clock. */
const STEPS = 256;
/** Longest time one piece of work may block everything else. */
const TURN_MS = 10;

/** Lets other work of the process in during a long computation: `if (pace.due()) await pace.rest();` at every step. */
export class Pace {
  #steps = 0;
  #turnStartedMs = performance.now();

  /** Reports whether this turn has lasted long enough; `steps` is the size of the next step. */
  due(steps = 1): boolean {
    this.#steps += steps;
    if (this.#steps < STEPS) return false;
    this.#steps = 0;
    return performance.now() - this.#turnStartedMs > TURN_MS;
  }

  async rest(): Promise<void> {
    await nextTurn();
    this.#turnStartedMs = performance.now();
  }
}

/**
 * Lets pieces of heavy work go on one per turn of the event loop, in the order they asked, so that whatever else there
 * is to do waits for one piece and not for all of them.
 */
export class Turns {
  readonly #waiting: (() => void)[] = [];
  #scheduled = false;

  /** Resolves when it is this piece's turn. */
  take(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#waiting.shift()?.();
      this.#schedule();
    });
  }
}
