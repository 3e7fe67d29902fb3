/**
 * Lifetime of a view: it ends when the user navigates away.
 * @typedef {object} Scope
 * @property {AbortSignal} signal
 * @property {() => void} reload redraws the same view
 */

/**
 * Calls `work` every `ms` and when the page becomes visible again, until the scope ends. Failures are passed to
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

/** Longest press: a browser does not report the end of a press on a scroll bar. */
const PRESS_MS_MAX = 2_000;

/** Time of the last pointer press; 0 while the pointer is up. */
const press = { atMs: 0 };
globalThis.addEventListener?.('pointerdown', () => (press.atMs = performance.now()), { capture: true });
for (const end of ['pointerup', 'pointercancel']) {
  globalThis.addEventListener?.(end, () => (press.atMs = 0), { capture: true });
}

/**
 * Resolves when nothing is being pressed. Automatic redraws wait for it: a link or button that is replaced between
 * press and release does nothing.
 */
export async function released() {
  while (press.atMs > 0 && performance.now() - press.atMs < PRESS_MS_MAX) {
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
