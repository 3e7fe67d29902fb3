/**
 * Items that gc must keep because running work may need them. Work with layers or files in several steps takes a hold
 * first. Everything looked up or published after that stays until the hold is released, whether or not the database
 * refers to it yet. Holds are in memory only: they end with the process, as does the work they protect.
 */
export class Holds {
  #clock = 0;
  readonly #open = new Set<{ readonly since: number }>();
  readonly #pins = new Set<ReadonlySet<string>>();
  readonly #touched = new Map<string, number>();

  hold(): Disposable {
    const entry = { since: (this.#clock += 1) };
    this.#open.add(entry);
    return {
      [Symbol.dispose]: () => {
        this.#open.delete(entry);
        if (this.#open.size === 0) this.#touched.clear();
      },
    };
  }

  /** Records that an item was handed out. */
  touch(key: string): void {
    if (this.#open.size > 0) this.#touched.set(key, (this.#clock += 1));
  }

  /**
   * Keeps exactly these items until it is disposed: for work that takes long, during which a hold would keep everything
   * that anyone uses.
   */
  pin(keys: readonly string[]): Disposable {
    const pin = new Set(keys);
    this.#pins.add(pin);
    return { [Symbol.dispose]: () => void this.#pins.delete(pin) };
  }

  isHeld(key: string): boolean {
    for (const pin of this.#pins) if (pin.has(key)) return true;
    const touched = this.#touched.get(key);
    if (touched === undefined) return false;
    for (const { since } of this.#open) if (since <= touched) return true;
    return false;
  }
}
