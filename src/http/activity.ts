/** How busy a server is with answering: from the arrival of a request to the end of its answer, streams included. */
export class Activity {
  #inFlight = 0;
  #quietSinceMs = performance.now();

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Milliseconds since the last answer ended; 0 while there is one. */
  get quietMs(): number {
    return this.#inFlight > 0 ? 0 : performance.now() - this.#quietSinceMs;
  }

  began(): void {
    this.#inFlight += 1;
  }

  ended(): void {
    this.#inFlight -= 1;
    this.#quietSinceMs = performance.now();
  }
}
