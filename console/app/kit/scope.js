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

/** No press lasts longer; a browser does not tell the end of one on a scroll bar. */
const PRESS_MS_MAX = 2_000;

/** When the pointer was last pressed down; 0 while it is up. */
const press = { atMs: 0 };
globalThis.addEventListener?.('pointerdown', () => (press.atMs = performance.now()), { capture: true });
for (const end of ['pointerup', 'pointercancel']) {
  globalThis.addEventListener?.(end, () => (press.atMs = 0), { capture: true });
}

/**
 * Resolves when nothing is being pressed. What is drawn anew by itself waits for it: a link or button that is replaced
 * between the press and the release does nothing.
 */
export async function released() {
  while (press.atMs > 0 && performance.now() - press.atMs < PRESS_MS_MAX) {
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
