/** Sets the clock of this process wrong by so many milliseconds, as far as `Date` shows it. */
export function setClockWrong(errorMs: number): void {
  const Real = Date;
  globalThis.Date = class extends Real {
    constructor(...given: readonly unknown[]) {
      super(...((given.length === 0 ? [Real.now() + errorMs] : given) as [number]));
    }
    static override now(): number {
      return Real.now() + errorMs;
    }
  } as DateConstructor;
}
