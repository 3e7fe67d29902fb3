import { ERRORS, ERROR_CLASSES, type ErrorCode } from '../contract/errors.ts';

/** Delays of the hosted service's own clients, milliseconds. */
const DELAYS_MS = [100, 200, 500, 1_000, 2_000, 5_000];
const RETRY_AFTER_MS_MAX = 60_000;

/**
 * Statuses with which a server refuses before doing anything, so that even a request that creates something can be
 * repeated.
 */
const UNTOUCHED: ReadonlySet<number> = new Set([425, 429]);
const PASSING: ReadonlySet<number> = new Set([410, 500, 502, 503, 504]);

/** Reports whether a retry may give another answer and the request may be repeated. */
export function mayRetry(status: number, code: string | undefined, safe: boolean): boolean {
  // Our own servers say whether a retry can help; their 500 is a bug and would be repeated.
  if (code !== undefined && Object.hasOwn(ERRORS, code)) {
    if (ERROR_CLASSES[ERRORS[code as ErrorCode].class].retry !== 'later') return false;
  }
  // An engine that is shutting down says so before it does anything.
  return UNTOUCHED.has(status) || code === 'ENGINE_UNAVAILABLE' || (safe && PASSING.has(status));
}

/** Returns the delay before a retry (`attempt` is 0 for the first one); undefined when none is left. */
export function retryDelayMs(attempt: number, retryAfter: string | undefined): number | undefined {
  const usual = DELAYS_MS[attempt];
  if (usual === undefined) return undefined;
  return Math.max(usual, Math.min(retryAfterMs(retryAfter), RETRY_AFTER_MS_MAX));
}

/** Parses Retry-After: seconds or an HTTP date. */
function retryAfterMs(header: string | undefined): number {
  if (header === undefined) return 0;
  if (/^\d{1,9}$/u.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? 0 : Math.max(0, at - Date.now());
}
