import type { ImageImportMetadata, OperationResponse } from '../contract/index.ts';
import { operationFault } from './failure.ts';
import { summarize, type OperationFields, type SummaryOptions } from './operation.ts';

/** What the call that started an operation answers once it has waited for it. Throws what the operation failed with. */
export async function outcomeOf(operation: OperationResponse, options: SummaryOptions): Promise<OperationFields> {
  if (operation.status !== 'FAILED') return await summarize(operation, options);
  const { kind, metadata } = operation;
  const isImport = kind === 'image_import';
  throw operationFault(operation, isImport ? { registry: (metadata as ImageImportMetadata).registry.url } : {});
}
