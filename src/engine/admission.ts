import { assert } from '../std/assert.ts';

/** Amounts of the resources that runs compete for, by name, for example `cpus` and `memoryMib`. */
export type Resources = Readonly<Record<string, number>>;

interface Waiting {
  readonly cost: Resources;
  readonly admit: () => void;
}

/**
 * Admits work, first come first served, while its cost fits into what is left.
 *
 * Strictly in order: nothing overtakes the head of the queue, so nothing starves; the price is that small work waits
 * behind large work. Work larger than the total runs alone.
 */
export class Admission {
  readonly #capacity: Resources;
  readonly #used = new Map<string, number>();
  readonly #line = new Set<Waiting>();
  #admitted = 0;

  constructor(capacity: Resources) {
    this.#capacity = capacity;
  }

  get waiting(): number {
    return this.#line.size;
  }

  get admitted(): number {
    return this.#admitted;
  }

  /** Waits for a place; disposing it releases the place. Rejects with the signal's reason and then leaves the queue. */
  async enter(cost: Resources, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const bounded = this.#bounded(cost);
    if (this.#line.size > 0 || !this.#fits(bounded)) await this.#wait(bounded, signal);
    else this.#take(bounded);
    return { [Symbol.dispose]: () => this.#give(bounded) };
  }

  #wait(cost: Resources, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#line.delete(waiting);
        this.#advance();
        reject(signal.reason as Error);
      };
      const admit = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const waiting = { cost, admit };
      this.#line.add(waiting);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #advance(): void {
    for (const waiting of this.#line) {
      if (!this.#fits(waiting.cost)) return;
      this.#line.delete(waiting);
      this.#take(waiting.cost);
      waiting.admit();
    }
  }

  #bounded(cost: Resources): Resources {
    return Object.fromEntries(
      Object.entries(this.#capacity).map(([name, most]) => [name, Math.min(cost[name] ?? 0, most)]),
    );
  }

  #fits(cost: Resources): boolean {
    return Object.entries(cost).every(
      ([name, amount]) => (this.#used.get(name) ?? 0) + amount <= (this.#capacity[name] ?? 0),
    );
  }

  #take(cost: Resources): void {
    this.#admitted += 1;
    for (const [name, amount] of Object.entries(cost)) this.#used.set(name, (this.#used.get(name) ?? 0) + amount);
  }

  #give(cost: Resources): void {
    assert(this.#admitted > 0, 'a place is given back once');
    this.#admitted -= 1;
    for (const [name, amount] of Object.entries(cost)) this.#used.set(name, (this.#used.get(name) ?? 0) - amount);
    this.#advance();
  }
}
