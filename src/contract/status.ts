/** States of an operation, in order; the last three are final (reference api.md §6.1). */
export const OPERATION_STATUSES = ['PENDING', 'ASSIGNED', 'EXECUTING', 'SUCCESS', 'FAILED', 'CANCELLED'] as const;
export type OperationStatus = (typeof OPERATION_STATUSES)[number];

export function isFinished(status: OperationStatus): boolean {
  return status === 'SUCCESS' || status === 'FAILED' || status === 'CANCELLED';
}
