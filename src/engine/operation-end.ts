import type { ContreeError } from '../contract/errors.ts';
import { present } from '../std/present.ts';
import type { OperationEnd, StoredOperation } from '../store/operations.ts';
import type { KeptResult, MadeVisible } from './work.ts';

/** Returns the end of an operation that failed or was cancelled. */
export function failure(error: ContreeError): OperationEnd {
  return {
    status: error.code === 'OPERATION_CANCELLED' ? 'CANCELLED' : 'FAILED',
    error: error.message,
    errorCode: error.code,
  };
}

/** Returns what was made visible as the result of its operation. */
export function keptOf({ image, tag, imageBytes }: MadeVisible): KeptResult {
  return present({ resultImage: image, resultTag: tag, imageBytes });
}

/** Returns what an operation that was interrupted had published. */
export function keptSoFar({
  resultImage,
  resultTag,
  imageBytes,
  outcome,
}: StoredOperation): Omit<OperationEnd, 'status'> {
  if (resultImage === null) return { outcome };
  return { outcome, resultImage, ...(resultTag !== null && { resultTag }), ...(imageBytes !== null && { imageBytes }) };
}
