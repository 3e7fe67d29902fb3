import { ContreeError, ERRORS, fault, type ErrorCode } from '../../contract/errors.ts';
import type { EventData } from '../../contract/event.ts';
import type { OperationResponse } from '../../contract/operation.ts';

/** As `timeout(1)` has it. */
const EXIT_TIMED_OUT = 124;
/** Shells add the number of the signal to this. */
const EXIT_SIGNAL_BASE = 128;

/** Exit code of a command from how its process ended. */
export function exitCodeOf({
  code,
  signal,
  timed_out,
}: Pick<EventData<'exit'>, 'code' | 'signal' | 'timed_out'>): number {
  if (timed_out) return EXIT_TIMED_OUT;
  return signal > 0 ? EXIT_SIGNAL_BASE + signal : Math.max(code, 0);
}

/** The exit code a finished operation stands for: its command's, or that of the fault that ended it. */
export function operationExitCode(operation: OperationResponse): number {
  if (operation.status !== 'SUCCESS') return operationFault(operation).exitCode;
  const { metadata } = operation;
  const state = 'result' in metadata ? metadata.result.state : undefined;
  return state === undefined ? 0 : exitCodeOf({ ...state, code: state.exit_code });
}

/** Why an operation did not succeed. */
export function operationFault({ uuid, status, error, error_code: code }: OperationResponse): ContreeError {
  if (status === 'CANCELLED') return fault('OPERATION_CANCELLED', { operation: uuid });
  const reason = error ?? 'the operation failed';
  if (code !== undefined && Object.hasOwn(ERRORS, code)) return new ContreeError(code as ErrorCode, reason, {});
  return fault('REMOTE_FAILED', { status: 200, reason });
}
