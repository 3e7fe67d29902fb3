import { limits } from '../../contract/limits.ts';

/**
 * Time limit of a process in real time: when it has passed, the process is killed, and abandoned after the grace
 * period.
 */
export class Deadline implements Disposable {
  /** Resolves when the process was killed and even that did not end it in time. */
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
      // A guest that does not take the signal is given up all the same.
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
