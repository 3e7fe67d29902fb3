import { isFault } from '../../contract/errors.ts';
import type { ImageImportMetadata, OperationResponse } from '../../contract/operation.ts';
import { imageBefore } from '../../contract/errors/builds.ts';
import { present } from '../../std/present.ts';
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
  throw operationFault(
    operation,
    kind === 'instance' ? {} : detailOf(metadata as ImageImportMetadata, operation.error),
  );
}

/** Returns details for the next call: of an import the registry to sign in to, of a build the image before the failed step. */
function detailOf({ registry: { url }, build }: ImageImportMetadata, error: string | null): Record<string, string> {
  if (build !== undefined) return present({ image: imageBefore(error ?? '') });
  try {
    return { registry: registryHostOf(url) };
  } catch (error) {
    if (!isFault(error, 'REFERENCE_INVALID')) throw error;
    return { registry: url };
  }
}
