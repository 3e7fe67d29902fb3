/**
 * Reports whether a promise settles within this time; its result or error is left to its other consumers. The timer
 * does not keep the process alive. It is cleared, not aborted: creating an unused AbortError would cost more than
 * everything else here.
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
