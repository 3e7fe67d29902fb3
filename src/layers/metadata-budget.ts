import { limits } from '../contract/limits.ts';
import { untilAborted } from '../std/abort.ts';

interface BudgetBounds {
  readonly bytesMax: number;
  /** Bytes of each layer that do not count. */
  readonly bytesFree: number;
}

/**
 * Bound of the memory that layers under construction need together. A small layer never waits. A large one waits until
 * others are finished, except for the oldest large one, which always continues: so each of them finishes.
 */
export class MetadataBudget {
  readonly bounds: BudgetBounds;
  /** Shares that count, oldest first. */
  readonly #large = new Set<MetadataShare>();
  #bytes = 0;
  #changed = Promise.withResolvers<void>();

  constructor(bounds: BudgetBounds) {
    this.bounds = bounds;
  }

  /** Resolves when memory is given back. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  /** Takes memory for a share; returns false if it must wait. */
  take(share: MetadataShare, bytes: number): boolean {
    this.#large.add(share);
    const [oldest] = this.#large;
    if (share !== oldest && this.#bytes + bytes > this.bounds.bytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  /** Gives back all memory of a share. */
  give(share: MetadataShare, bytes: number): void {
    this.#large.delete(share);
    this.#bytes -= bytes;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Memory of one layer under construction. */
export class MetadataShare implements Disposable {
  readonly #budget: MetadataBudget;
  readonly #signal: AbortSignal | undefined;
  #bytes = 0;
  #counted = 0;

  constructor(budget: MetadataBudget, signal?: AbortSignal) {
    this.#budget = budget;
    this.#signal = signal;
  }

  /** Takes more memory. Returns a promise if it must wait, which rejects with the reason of the signal. */
  take(bytes: number): Promise<void> | undefined {
    this.#bytes += bytes;
    const more = this.#bytes - this.#budget.bounds.bytesFree - this.#counted;
    if (more <= 0) return undefined;
    if (!this.#budget.take(this, more)) return this.#wait(more);
    this.#counted += more;
    return undefined;
  }

  [Symbol.dispose](): void {
    this.#budget.give(this, this.#counted);
    this.#counted = 0;
  }

  async #wait(bytes: number): Promise<void> {
    do await untilAborted(this.#budget.changed, this.#signal ?? new AbortController().signal);
    while (!this.#budget.take(this, bytes));
    this.#counted += bytes;
  }
}

/** Budget of this process. */
export const metadataBudget: MetadataBudget = new MetadataBudget({
  bytesMax: limits.layerMemoryBytesMax,
  bytesFree: limits.layerMemoryBytesFree,
});
