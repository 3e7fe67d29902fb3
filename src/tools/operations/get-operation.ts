import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import type { ConTree } from '../../contract/contree.ts';
import { OperationKind, OperationStatus, type OperationResponse } from '../../contract/operation.ts';
import { present } from '../../std/present.ts';
import { count, operationId, pageSize } from '../support/fields.ts';
import {
  detailFields,
  operationText,
  portsOf,
  resultFields,
  summarize,
  type OperationFields,
} from '../support/operation.ts';
import { binaryText, cutOutput, isBinary, readOutput, type KeptOutput } from '../support/output.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { streamBytesMax } from './run.ts';
import { grouped, lines, wholeSeconds } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';

/** Bound of offsets, far beyond any output: streams are counted whole, however little of them is kept. */
const OUTPUT_BYTES_MAX = 1e15;

/** Fields of a result, which `run` shows. */
const { operation_id: _, ...shownFields } = resultFields;
const hiddenFields = Object.fromEntries(
  Object.entries(shownFields).map(([name, field]) => [name, hiddenFromClients(field as z.ZodType)]),
) as typeof shownFields;

const Output = z.object({
  content: z.string().optional(),
  size: hiddenFromClients(count.optional()),
  offset: hiddenFromClients(count.optional()),
  next_offset: hiddenFromClients(count.optional()),
  ...hiddenFields,
  status: OperationStatus,
  kind: hiddenFromClients(OperationKind.optional()),
  created_at: hiddenFromClients(z.string().optional()),
  ...detailFields,
});

export const getOperation = defineTool({
  name: 'get_operation',
  title: 'Show an operation',
  description:
    'Free. State and result (like run) of an operation. With stream, pages its whole output: offset in bytes, negative ' +
    'from the end.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  input: z.object({
    operation_id: operationId,
    /** Number of a process of an instance, as `run` returned it. */
    process: hiddenFromClients(
      z
        .int()
        .min(1)
        .max(2 ** 31 - 1)
        .optional(),
    ),
    stream: z.enum(['stdout', 'stderr']).optional(),
    offset: z.int().min(-OUTPUT_BYTES_MAX).max(OUTPUT_BYTES_MAX).default(0),
    length: pageSize(limits.toolReadBytesDefault).default(streamBytesMax),
  }),
  output: Output,
  handle: async ({ contree, signal }, { operation_id, process, stream, offset, length }) => {
    const outputBytesMax = stream === undefined ? limits.toolOutputBytesDefault : 0;
    const operation = await contree.operations.get(operation_id, { output_bytes: outputBytesMax }, signal);
    const { kind, status } = operation;
    if (stream === undefined || kind !== 'instance') {
      const fields = await summarize(operation, { contree, outputBytesMax, signal });
      const ports = await openPorts(contree, operation, signal);
      return { ...fields, ...ports, kind, created_at: wholeSeconds(operation.created_at) };
    }
    const kept = await readOutput(contree, { operation: operation_id, spid: process }, stream, signal);
    const { bytes, offset: start } = cutOutput(kept, offset, length);
    const end = start + bytes.length;
    return {
      status,
      content: isBinary(bytes) ? binaryText(bytes.length) : bytes.toString('utf8'),
      size: kept.totalBytes,
      offset: start,
      ...(end < kept.totalBytes && { next_offset: end }),
      ...gapHint(kept, offset, start),
    };
  },
  text: (fields, { operation_id, stream }) =>
    fields.content === undefined
      ? operationText({ ...fields, operation_id })
      : lines(
          `${stream} of operation ${operation_id} (${fields.status}): from byte ${grouped(fields.offset ?? 0)} ` +
            `of ${grouped(fields.size ?? 0)}${fields.next_offset === undefined ? '' : `, next offset ${fields.next_offset}`}`,
          fields.content,
          fields.hint !== undefined && `Next: ${fields.hint}`,
        ),
});

/** Returns the published ports of an instance that is open. */
async function openPorts(
  contree: ConTree,
  { uuid, status, metadata }: OperationResponse,
  signal: AbortSignal,
): Promise<Pick<OperationFields, 'ports' | 'hint'>> {
  if (!('instance' in metadata) || metadata.instance === undefined || status !== 'EXECUTING') return {};
  const { ports } = await contree.instances.get(uuid, signal);
  return present({ ports: portsOf(ports), hint: `run(instance="${uuid}", command=…)` });
}

/** Returns the hint for a page that does not begin where it was asked to, because the output there was not kept. */
function gapHint({ first, last, totalBytes }: KeptOutput, asked: number, start: number): { hint?: string } {
  const wanted = asked < 0 ? totalBytes + asked : asked;
  if (wanted >= start || first.length + last.length >= totalBytes) return {};
  const gap = `bytes ${grouped(first.length)} to ${grouped(totalBytes - last.length)} of this stream were not kept`;
  return { hint: `${gap}; write such output to a file in a run with disposable=false, and page that with read_file.` };
}
