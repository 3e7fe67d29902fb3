/**
 * The life of what is on the page: it ends when the reader goes elsewhere.
 * @typedef {object} Scope
 * @property {AbortSignal} signal
 * @property {() => void} reload draws the same place anew
 */

/**
 * Calls `work` every `ms`, and when the page is looked at again, until the scope ends. Failures are told to
 * `onError` and do not end it.
 * @param {Scope} scope
 * @param {number} ms
 * @param {() => Promise<void>} work
 * @param {(error: unknown) => void} [onError]
 */
export function every({ signal }, ms, work, onError = () => undefined) {
  let running = false;
  const once = async () => {
    if (running || document.visibilityState === 'hidden' || signal.aborted) return;
    running = true;
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) onError(error);
    } finally {
      running = false;
    }
  };
  const timer = setInterval(() => void once(), ms);
  document.addEventListener('visibilitychange', () => void once(), { signal });
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
}
