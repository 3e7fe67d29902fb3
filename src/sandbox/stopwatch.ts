/** Timer of steps that follow one another. */
export class Stopwatch {
  readonly takenMs: Record<string, number> = {};
  #startedMs = performance.now();

  /** Records the step: all the time since the last one, except `otherMs`, which is recorded elsewhere. */
  done(step: string, otherMs = 0): void {
    const now = performance.now();
    this.takenMs[step] = now - this.#startedMs - otherMs;
    this.#startedMs = now;
  }
}
