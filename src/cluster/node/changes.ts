/** Waits for news about operations. Notifications may be lost, so every wait is bounded, and its caller looks again. */
export class OperationChanges {
  readonly #waiting = new Map<string, Set<() => void>>();

  /** Wakes those that wait for an operation. */
  tell(operation: string): void {
    for (const wake of this.#waiting.get(operation) ?? []) wake();
  }

  /** Wakes all. */
  tellAll(): void {
    for (const operation of this.#waiting.keys()) this.tell(operation);
  }

  /** Resolves when there may be news of an operation, or after that time. Rejects with the reason of the signal. */
  async wait(operation: string, ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
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
