import type { ProjectStore } from '../../store/project-store.ts';

/**
 * Hold on the store of an operation that takes days. While it only waits, it keeps just the layers that it stands on:
 * a hold would keep everything that anyone uses meanwhile.
 */
export class LongHold implements Disposable {
  readonly #store: ProjectStore;
  #hold: Disposable | undefined;
  #pin: Disposable | undefined;

  constructor(store: ProjectStore) {
    this.#store = store;
    this.#hold = store.hold();
  }

  /** Keeps these layers only. */
  loosen(layers: readonly string[]): void {
    this.#pin ??= this.#store.pin(layers);
    this.#hold?.[Symbol.dispose]();
    this.#hold = undefined;
  }

  /** Also keeps everything that is used from now on. */
  tighten(): void {
    this.#hold ??= this.#store.hold();
  }

  [Symbol.dispose](): void {
    this.#hold?.[Symbol.dispose]();
    this.#pin?.[Symbol.dispose]();
    this.#hold = undefined;
  }
}
