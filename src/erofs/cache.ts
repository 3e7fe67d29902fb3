/** File bytes are cached in windows of this size, aligned. */
export const WINDOW_BYTES = 64 * 1024;

/**
 * LRU cache of windows of layer metadata. Layers never change, so entries never become invalid. One cache is shared by
 * all readers of a process, which bounds their total memory.
 */
export class WindowCache {
  readonly #bytesMax: number;
  readonly #windows = new Map<string, Promise<Buffer>>();

  constructor(bytesMax: number = 32 * 1024 * 1024) {
    this.#bytesMax = bytesMax;
  }

  /** Returns the window of a key, loading it if missing. A failed load is not cached. */
  get(key: string, load: () => Promise<Buffer>): Promise<Buffer> {
    const known = this.#windows.get(key);
    if (known !== undefined) {
      this.#windows.delete(key);
      this.#windows.set(key, known);
      return known;
    }
    const window = load();
    this.#windows.set(key, window);
    window.catch(() => this.#windows.delete(key));
    const countMax = Math.max(1, Math.floor(this.#bytesMax / WINDOW_BYTES));
    for (const oldest of this.#windows.keys()) {
      if (this.#windows.size <= countMax) break;
      this.#windows.delete(oldest);
    }
    return window;
  }
}
