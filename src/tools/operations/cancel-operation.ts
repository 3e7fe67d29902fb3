import { z } from 'zod';
import { fault, isFault } from '../../contract/errors.ts';
import { OperationStatus } from '../../contract/operation.ts';
import type { ConTree } from '../../contract/contree.ts';
import { operationId } from '../support/fields.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { present } from '../../std/present.ts';
import { lines } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';

const Item = z.object({ operation_id: z.string(), cancelled: z.boolean(), status: hiddenFromClients(OperationStatus) });

export const cancelOperation = defineTool({
  name: 'cancel_operation',
  title: 'Cancel operations',
  description: 'Free. Stops runs or imports. One that has ended stays as it is (cancelled=false).',
  cost: 'free',
  effect: 'replaces',
  openWorld: false,
  input: z.object({
    operation_id: hiddenFromClients(operationId.optional()),
    operation_ids: z.array(operationId).max(100).optional(),
  }),
  // One answer for one operation, a list for several: what became of each has no sum.
  output: Item.partial().extend({ operations: hiddenFromClients(z.array(Item).optional()) }),
  handle: async ({ contree, signal }, { operation_id, operation_ids = [] }) => {
    const ids = [...new Set(operation_id === undefined ? operation_ids : [operation_id, ...operation_ids])];
    const [only] = ids;
    if (only === undefined) throw fault('ARGUMENT_INVALID', { reason: 'argument "operation_ids" is required' });
    const operations = [];
    for (const id of ids) operations.push(await cancel(contree, id, signal));
    const [{ cancelled, status } = {}] = operations;
    return ids.length === 1 ? present({ cancelled, status }) : { operations };
  },
  text: ({ operations, ...only }, { operation_id, operation_ids }) =>
    lines(
      ...(operations ?? [{ operation_id: operation_id ?? operation_ids?.[0], ...only }]).map(
        ({ operation_id, cancelled, status }) =>
          cancelled
            ? `operation ${operation_id}: cancelled`
            : `operation ${operation_id}: not cancelled, it is ${status}`,
      ),
    ),
});

async function cancel(contree: ConTree, operation: string, signal: AbortSignal): Promise<z.infer<typeof Item>> {
  try {
    await contree.operations.cancel(operation, signal);
    return { operation_id: operation, cancelled: true, status: 'CANCELLED' };
  } catch (error) {
    if (!isFault(error, 'OPERATION_FINISHED')) throw error;
    const { status } = await contree.operations.get(operation, { output_bytes: 0 }, signal);
    return { operation_id: operation, cancelled: false, status };
  }
}
