/** Milliseconds each step of an operation took, in order. */
export class Steps {
  readonly ms: Record<string, number>;
  #sinceMs = performance.now();

  /** Starts with steps that have already ended. */
  constructor(before: Readonly<Record<string, number>>) {
    this.ms = Object.fromEntries(Object.entries(before).map(([name, ms]) => [name, round(ms)]));
  }

  /** Attributes the time since the last mark to this step. */
  mark(step: string): void {
    this.#add(step, this.#lap());
  }

  /** Attributes the time since the last mark to these parts, and the rest of it to the step itself. */
  markParts(step: string, parts: Readonly<Record<string, number>>): void {
    let rest = this.#lap();
    for (const [name, ms] of Object.entries(parts)) {
      this.#add(name, ms);
      rest -= ms;
    }
    this.#add(step, Math.max(0, rest));
  }

  #lap(): number {
    const lapMs = performance.now() - this.#sinceMs;
    this.#sinceMs += lapMs;
    return lapMs;
  }

  #add(step: string, ms: number): void {
    this.ms[step] = round((this.ms[step] ?? 0) + ms);
  }
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
