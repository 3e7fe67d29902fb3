/**
 * Whether a promise settles, one way or the other, within this time; its result or error stays with whoever else has it. The
 * timer keeps no process alive, and is cleared, not aborted: the error that an abort makes for nobody costs more than all else.
 */
export function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, false).unref();
    const settled = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    promise.then(settled, settled);
  });
}
