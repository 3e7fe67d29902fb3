import { isFault } from '../../contract/errors.ts';
import type { ImageImportMetadata, OperationResponse } from '../../contract/operation.ts';
import { operationFault } from './failure.ts';
import { summarize, type OperationFields, type SummaryOptions } from './operation.ts';
import { registryHostOf } from './registry-hosts.ts';

/**
 * Returns the result of a call that started an operation and waited for it. Throws the fault that the operation failed
 * with.
 */
export async function outcomeOf(operation: OperationResponse, options: SummaryOptions): Promise<OperationFields> {
  if (operation.status !== 'FAILED') return await summarize(operation, options);
  const { kind, metadata } = operation;
  throw operationFault(operation, kind === 'instance' ? {} : detailOf(metadata as ImageImportMetadata));
}

/** Returns details of an import for the next call: the registry to sign in to. */
function detailOf({ registry: { url } }: ImageImportMetadata): { readonly registry: string } {
  try {
    return { registry: registryHostOf(url) };
  } catch (error) {
    if (!isFault(error, 'REFERENCE_INVALID')) throw error;
    return { registry: url };
  }
}
