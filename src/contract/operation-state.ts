/**
 * States of operations and numbers of their processes. Kept apart from the schemas of operations so that commands that
 * need no schema do not load zod, which takes 75 ms, longer than most requests.
 */

/** States of an operation, in order; the last three are final (contract of the hosted service). */
export const OPERATION_STATUSES = ['PENDING', 'ASSIGNED', 'EXECUTING', 'SUCCESS', 'FAILED', 'CANCELLED'] as const;
export type OperationStatus = (typeof OPERATION_STATUSES)[number];

export function isFinished(status: OperationStatus): boolean {
  return status === 'SUCCESS' || status === 'FAILED' || status === 'CANCELLED';
}

/** Process ids of the event log: 0 is the init daemon, 1 the main process, 2 and up are subprocesses. */
export const SPID_INIT = 0;
export const SPID_MAIN = 1;
