import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import { OperationKind, OperationStatus, type OperationSummary } from '../../contract/operation.ts';
import { count, hint, offset, pageSize, since, until } from '../support/fields.ts';
import { rounded } from '../support/operation.ts';
import { pageOf } from '../support/page.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { counted, lines, wholeSeconds } from '../support/text.ts';
import { timeFilters } from '../support/time.ts';
import { defineTool } from '../support/tool.ts';
import { present } from '../../std/present.ts';

const Item = z.object({
  uuid: z.string(),
  kind: hiddenFromClients(OperationKind),
  status: OperationStatus,
  error: hiddenFromClients(z.string().optional()),
  created_at: hiddenFromClients(z.string()),
  duration_s: hiddenFromClients(z.number().optional()),
  image_uuid: z.string().optional(),
});

export const listOperations = defineTool({
  name: 'list_operations',
  title: 'List operations',
  description: 'Free. Runs and imports, newest first; finds one whose call was interrupted.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  aliases: { type: 'kind' },
  input: z.object({
    limit: pageSize(limits.pageMax).default(20),
    offset,
    status: OperationStatus.optional(),
    kind: OperationKind.optional(),
    since,
    until,
  }),
  output: z.object({ operations: z.array(Item), next_offset: hiddenFromClients(count.optional()), hint }),
  handle: async ({ contree, signal }, { limit, offset, status, kind, ...times }) => {
    const wanted = Math.min(limit + 1, limits.pageMax);
    const query = { limit: wanted, offset, ...present({ status, kind }), ...timeFilters(times) };
    const found = await contree.operations.list(query, signal);
    const { items, nextOffset } = pageOf(found.slice(0, limit).map(itemOf), { offset, more: found.length === wanted });
    return { operations: [...items], ...present({ next_offset: nextOffset }) };
  },
  text: ({ operations, next_offset, hint }) =>
    lines(
      `${counted(operations.length, 'operation')}${next_offset === undefined ? '' : `; more from offset=${next_offset}`}`,
      ...operations.map(
        ({ uuid, kind, status, created_at, duration_s, error }) =>
          `${uuid}  ${created_at}  ${kind}  ${status}${duration_s === undefined ? '' : `  ${duration_s} s`}${error === undefined ? '' : `  ${error}`}`,
      ),
      hint && `Next: ${hint}`,
    ),
});

function itemOf({
  uuid,
  kind,
  status,
  error,
  created_at,
  duration,
  result_image_uuid,
}: OperationSummary): z.infer<typeof Item> {
  return present({
    uuid,
    kind,
    status,
    error: error?.slice(0, 300),
    created_at: wholeSeconds(created_at),
    duration_s: duration > 0 ? rounded(duration) : undefined,
    image_uuid: result_image_uuid ?? undefined,
  });
}
