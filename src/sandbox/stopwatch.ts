/** Timer of steps that follow one another. */
export class Stopwatch {
  readonly takenMs: Record<string, number> = {};
  #startedMs = performance.now();

  /** The step took all the time since the last one, but for `otherMs` that somebody else accounts for. */
  done(step: string, otherMs = 0): void {
    const now = performance.now();
    this.takenMs[step] = now - this.#startedMs - otherMs;
    this.#startedMs = now;
  }
}
