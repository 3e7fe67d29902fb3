/** Token bucket: a number of units at once, and a number per second after that. */
export class Allowance {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #nowMs: () => number;
  #left: number;
  #filledMs: number;

  constructor(perSecond: number, burst: number, nowMs: () => number = () => performance.now()) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#nowMs = nowMs;
    this.#left = burst;
    this.#filledMs = nowMs();
  }

  /** Number of whole units that may be spent now. */
  get left(): number {
    const nowMs = this.#nowMs();
    this.#left = Math.min(this.#burst, this.#left + ((nowMs - this.#filledMs) * this.#perSecond) / 1_000);
    this.#filledMs = nowMs;
    return Math.floor(this.#left);
  }

  spend(units: number): void {
    this.#left -= units;
  }

  /** Spends one unit if there is one. */
  take(): boolean {
    if (this.left < 1) return false;
    this.spend(1);
    return true;
  }
}
