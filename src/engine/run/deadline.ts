import { limits } from '../../contract/limits.ts';

/**
 * Limit on the elapsed time of a process: once it has passed, the process is killed, and abandoned after the grace
 * period.
 */
export class Deadline implements Disposable {
  /** Resolves when the process was killed and still did not end in time. */
  readonly abandoned: Promise<void>;
  #passed = false;
  #timer: NodeJS.Timeout | undefined;

  /** `seconds` 0 means never. */
  constructor(seconds: number, kill: () => Promise<void>) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.abandoned = promise;
    if (seconds === 0) return;
    this.#timer = setTimeout(() => {
      this.#passed = true;
      this.#timer = setTimeout(resolve, limits.killGraceMs);
      // A guest that does not accept the signal is abandoned too.
      kill().catch(() => {});
    }, seconds * 1_000);
  }

  get passed(): boolean {
    return this.#passed;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
