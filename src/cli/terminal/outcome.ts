import { ContreeError, ERRORS, fault, type ErrorCode } from '../../contract/errors.ts';
import type { EventData } from '../../contract/event.ts';
import type { OperationResponse } from '../../contract/operation.ts';

/** Exit code of `timeout(1)` for a command that timed out. */
const EXIT_TIMED_OUT = 124;
/** Base of the exit code for a signal: shells add the signal number to it. */
const EXIT_SIGNAL_BASE = 128;

/** Returns the exit code for the way a command's process ended. */
export function exitCodeOf({
  code,
  signal,
  timed_out,
}: Pick<EventData<'exit'>, 'code' | 'signal' | 'timed_out'>): number {
  if (timed_out) return EXIT_TIMED_OUT;
  return signal > 0 ? EXIT_SIGNAL_BASE + signal : Math.max(code, 0);
}

/** Returns the exit code for a finished operation: that of its command, or that of the fault that ended it. */
export function operationExitCode(operation: OperationResponse): number {
  if (operation.status !== 'SUCCESS') return failureOf(operation).exitCode;
  const { metadata } = operation;
  const state = 'result' in metadata ? metadata.result.state : undefined;
  return state === undefined ? 0 : exitCodeOf({ ...state, code: state.exit_code });
}

/** Returns the fault that explains why an operation did not succeed. */
export function failureOf({ uuid, status, error, error_code: code }: OperationResponse): ContreeError {
  if (status === 'CANCELLED') return fault('OPERATION_CANCELLED', { operation: uuid });
  const reason = error ?? 'the operation failed';
  if (code !== undefined && Object.hasOwn(ERRORS, code)) return new ContreeError(code as ErrorCode, reason, {});
  return fault('REMOTE_FAILED', { status: 200, reason });
}
