/** Operations whose last news are remembered, for those that look at one meanwhile. */
const REMEMBERED_MAX = 10_000;

/** Waits for news about operations. Notifications may be lost, so every wait is bounded, and its caller looks again. */
export class OperationChanges {
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #told = new Map<string, number>();
  #count = 0;

  /** Number of news so far. Read before an operation is looked at, it tells `wait` what is new since. */
  get count(): number {
    return this.#count;
  }

  /** Wakes those that wait for an operation. */
  tell(operation: string): void {
    this.#count += 1;
    // The one told last comes last, so that the first is the one to forget.
    this.#told.delete(operation);
    this.#told.set(operation, this.#count);
    const [oldest = operation] = this.#told.keys();
    if (this.#told.size > REMEMBERED_MAX) this.#told.delete(oldest);
    for (const wake of this.#waiting.get(operation) ?? []) wake();
  }

  /** Wakes all. */
  tellAll(): void {
    for (const operation of this.#waiting.keys()) this.tell(operation);
  }

  /**
   * Resolves when there may be news of an operation since that count, or after that time. Rejects with the reason of the
   * signal.
   */
  async wait(
    operation: string,
    since: { readonly count: number; readonly ms: number },
    signal?: AbortSignal,
  ): Promise<void> {
    signal?.throwIfAborted();
    const { count, ms } = since;
    if ((this.#told.get(operation) ?? 0) > count) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    const abort = (): void => reject(signal?.reason as Error);
    const waiting = this.#waiting.get(operation) ?? new Set();
    this.#waiting.set(operation, waiting.add(resolve));
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      waiting.delete(resolve);
      if (waiting.size === 0) this.#waiting.delete(operation);
    }
  }
}
