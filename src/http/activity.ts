/** Activity of a server: requests from their arrival to the end of their answer, including streams. */
export class Activity {
  #inFlight = 0;
  readonly #timers = new Set<NodeJS.Timeout>();

  get inFlight(): number {
    return this.#inFlight;
  }

  began(): void {
    this.#inFlight += 1;
  }

  ended(): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) for (const timer of this.#timers) timer.refresh();
  }

  /**
   * Calls back once no request has come for the given time, counted from now on and again after each request. If the
   * callback returns `later`, it is called again after the same time without requests. Keeps no process alive.
   */
  whenQuiet(afterMs: number, callback: () => Promise<'done' | 'later'>): Disposable {
    const look = async (): Promise<void> => {
      if (this.#inFlight > 0) return;
      if ((await callback()) === 'later' && this.#timers.has(timer)) timer.refresh();
    };
    const timer = setTimeout(() => void look(), afterMs).unref();
    this.#timers.add(timer);
    return {
      [Symbol.dispose]: () => {
        clearTimeout(timer);
        this.#timers.delete(timer);
      },
    };
  }
}
