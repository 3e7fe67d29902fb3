import { isFinished } from '../../contract/operation.ts';
import { pause } from '../../std/abort.ts';
import type { ClusterContext } from './context.ts';

/** Time after which the catalogue is asked although nothing was heard. */
const LOOK_MS = 15_000;
/** Time in which the node of an operation that has ended may still tell its last events. */
const GRACE_MS = 2_000;

/**
 * Watches for the end of an operation that another node executes, so that nobody waits for the events of a node that is cut off
 * from the catalogue, or hangs.
 */
export class EndWatch implements Disposable {
  readonly #ended = new AbortController();
  readonly #stop = new AbortController();

  constructor(context: ClusterContext, operation: string) {
    // Rejects when it is stopped.
    this.#watch(context, operation).catch(() => undefined);
  }

  /** Aborted some time after the catalogue had the end. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  async #watch({ operations, parts }: ClusterContext, operation: string): Promise<void> {
    const { signal } = this.#stop;
    for (let { count } = parts.changes; ; { count } = parts.changes) {
      await parts.changes.wait(operation, { count, ms: LOOK_MS }, signal);
      const found = await operations.get(operation).catch(() => undefined);
      // While the catalogue is away there is nothing to tell.
      if (found !== undefined && isFinished(found.status)) break;
    }
    await pause(GRACE_MS, signal);
    this.#ended.abort();
  }
}
