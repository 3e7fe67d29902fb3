import { type ContreeError, fault, isFault } from '../../contract/errors.ts';
import { pause } from '../../std/abort.ts';

/** Bounds of the attempts at one request. */
export interface RetryPolicy {
  /** Attempts without progress before it is given up. */
  readonly attempts: number;
  /** Pause after the first failure, which doubles each time; a random part of it is waited. */
  readonly pauseMs: number;
  readonly pauseMsMax: number;
  /** Time without a byte after which an attempt has failed. */
  readonly idleMs: number;
}

export const RETRY_POLICY: RetryPolicy = { attempts: 6, pauseMs: 200, pauseMsMax: 10_000, idleMs: 30_000 };

/** Error of a request to the object store. */
interface Failure {
  readonly fault: ContreeError;
  /** True when another attempt may succeed. */
  readonly transient: boolean;
}

/** Statuses of HTTP after which another attempt may succeed. */
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);
/** Codes of S3 for a body that was damaged on its way or came too slowly, and for too many requests. */
const TRANSIENT_CODES = new Set([
  'BadDigest',
  'XAmzContentSHA256Mismatch',
  'IncompleteBody',
  'RequestTimeout',
  'SlowDown',
]);
const DENIED = new Set([400, 401, 403, 404]);
const REASON_CHARACTERS = 200;

/** Makes attempts until one succeeds or the policy's are used up. Rejects with a fault, or the reason of the signal. */
export async function retried<Value>(
  attempt: () => Promise<Value>,
  policy: RetryPolicy,
  signal: AbortSignal,
): Promise<Value> {
  for (let failures = 0; ;) {
    try {
      signal.throwIfAborted();
      return await attempt();
    } catch (error) {
      failures += 1;
      await rest(error, failures, { policy, signal });
    }
  }
}

/** Waits before the next attempt after so many failures. Rejects with the fault when there is to be none. */
export async function rest(
  error: unknown,
  failures: number,
  { policy, signal }: { readonly policy: RetryPolicy; readonly signal: AbortSignal },
): Promise<void> {
  signal.throwIfAborted();
  const failure = failureOf(error);
  if (!failure.transient || failures >= policy.attempts) throw failure.fault;
  const most = Math.min(policy.pauseMsMax, policy.pauseMs * 2 ** (failures - 1));
  await pause(Math.random() * most, signal);
}

/** Error of a stream that ended early or stood still. */
export class BrokenOff extends Error {}

function failureOf(error: unknown): Failure {
  if (isFault(error)) return { fault: error, transient: false };
  if (!(error instanceof Error)) throw error;
  const status = statusOf(error);
  const text = `${error.name}: ${error.message}`.slice(0, REASON_CHARACTERS);
  const reason = status === undefined ? text : `HTTP ${status}, ${text}`;
  const code = 'code' in error ? String(error.code) : undefined;
  if (status === undefined && error.name === 'CredentialsProviderError') {
    return { fault: fault('OBJECTS_DENIED', { reason }, { cause: error }), transient: false };
  }
  // An answer that the client could not make sense of.
  const isSenseless = error instanceof TypeError || error instanceof SyntaxError || error instanceof RangeError;
  const isStatus = status === undefined ? !isSenseless : TRANSIENT.has(status);
  const transient = isStatus || TRANSIENT_CODES.has(code ?? error.name) || isClockCorrected(error);
  const denied = !transient && DENIED.has(status ?? 0);
  return { fault: fault(denied ? 'OBJECTS_DENIED' : 'OBJECTS_UNAVAILABLE', { reason }, { cause: error }), transient };
}

/** Reports whether the client has found its clock to be wrong, by the answer, and goes by that of the store from now on. */
function isClockCorrected(error: Error): boolean {
  return '$metadata' in error && (error.$metadata as { clockSkewCorrected?: boolean }).clockSkewCorrected === true;
}

/** Returns the HTTP status with which the store answered; undefined when it did not. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined;
  const { httpStatusCode: status } = error.$metadata as { readonly httpStatusCode?: unknown };
  return typeof status === 'number' ? status : undefined;
}
