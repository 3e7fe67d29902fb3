import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import { hint, operationId } from '../support/fields.ts';
import { untilFinished } from '../support/follow.ts';
import { operationText, resultFields, summarize, waitHint, type OperationFields } from '../support/operation.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { lines } from '../support/text.ts';
import { defineTool, type ToolCall } from '../support/tool.ts';

const OUTPUT_BYTES_EACH = 2_000;
const PROGRESS_MS = 5_000;

type Mode = 'all' | 'any' | 'any_success';

/** Result as `run` returns it, without the id, which is its key. */
const Result = z.object(resultFields).omit({ operation_id: true });

const Output = z.object({
  winner: z.string().optional(),
  // Each is a `Result`; its fields are told once, by `run`.
  results: z.record(z.string(), z.looseObject({})),
  pending: z.array(z.string()).optional(),
  timed_out: hiddenFromClients(z.boolean().optional()),
  hint,
});

export const waitOperations = defineTool({
  name: 'wait_operations',
  title: 'Wait for operations',
  description:
    'Free. Waits for operations of wait=false: all, any (first to end) or any_success (first with exit_code 0, the ' +
    'winner). Cancels none. If timed_out, call again.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  input: z.object({
    operation_ids: z.array(operationId).min(1).max(50),
    timeout: z.int().min(1).max(limits.commandTimeoutSecondsMax).default(300),
    mode: z.enum(['all', 'any', 'any_success']).default('all'),
  }),
  output: Output,
  handle: async (call, { operation_ids, timeout, mode }) => {
    const ids = [...new Set(operation_ids)];
    const bytesEach = Math.min(OUTPUT_BYTES_EACH, Math.floor((limits.toolResultBytesMax * 0.6) / (2 * ids.length)));
    const ended = await waitFor(call, ids, { timeoutSeconds: timeout, mode, outputBytes: bytesEach });
    const winner = mode === 'all' ? undefined : ended.find((state) => isWin(state, mode));
    const results: Record<string, z.infer<typeof Result>> = {};
    for (const operation of ended) {
      results[operation.uuid] = z.parse(Result, await summarize(operation, { ...call, outputBytesMax: bytesEach }));
    }
    const pending = ids.filter((id) => !(id in results));
    const goalReached = winner !== undefined || pending.length === 0;
    return {
      results,
      ...(pending.length > 0 && { pending }),
      ...(!goalReached && { timed_out: true }),
      ...(winner && { winner: winner.uuid }),
      ...hintFor(pending, goalReached),
    };
  },
  text: ({ results, pending = [], timed_out, winner, hint }) =>
    lines(
      winner !== undefined && `winner ${winner}`,
      ...Object.entries(results).map(([id, result]) =>
        operationText({ ...(result as Partial<OperationFields>), operation_id: id }),
      ),
      pending.length > 0 && `still running: ${pending.join(', ')}`,
      timed_out && 'the wait timed out; the operations go on',
      hint !== undefined && `Next: ${hint}`,
    ),
});

function hintFor(pending: readonly string[], goalReached: boolean): { hint?: string } {
  if (pending.length === 0) return {};
  if (!goalReached) return { hint: waitHint(...pending) };
  return { hint: `cancel_operation(operation_ids=${JSON.stringify(pending)}) stops the others.` };
}

function isWin({ status, metadata }: OperationResponse, mode: Mode): boolean {
  if (status !== 'SUCCESS') return mode === 'any' && status === 'FAILED';
  if (mode === 'any' || !('result' in metadata)) return true;
  return metadata.result.state?.exit_code === 0 && !metadata.result.state.timed_out;
}

/** Returns the operations that ended, in order of their end, once the mode is satisfied or the time is up. */
async function waitFor(
  call: ToolCall,
  ids: readonly string[],
  { timeoutSeconds, mode, outputBytes }: { timeoutSeconds: number; mode: Mode; outputBytes: number },
): Promise<OperationResponse[]> {
  const waitMs = call.progress ? timeoutSeconds * 1_000 : Math.min(timeoutSeconds * 1_000, call.inlineWaitMs);
  const enough = new AbortController();
  const deadline = AbortSignal.timeout(waitMs);
  const signal = AbortSignal.any([call.signal, deadline, enough.signal]);
  const ended: OperationResponse[] = [];
  using _progress = reportCount(call, ids.length, () => ended.length);
  const faults: unknown[] = [];
  const waits = ids.map(async (id) => {
    try {
      const operation = await untilFinished(call.contree, id, { outputBytes, signal });
      ended.push(operation);
      if (mode !== 'all' && isWin(operation, mode)) enough.abort();
    } catch (error) {
      if (signal.aborted) return;
      // An unknown id is reported immediately, not after the others have ended.
      faults.push(error);
      enough.abort();
    }
  });
  await Promise.all(waits);
  call.signal.throwIfAborted();
  if (faults.length > 0) throw faults[0];
  return ended;
}

/** Reports `k of n ended` every few seconds. */
function reportCount(call: ToolCall, total: number, count: () => number): Disposable {
  const startedMs = performance.now();
  const step = (): void =>
    call.progress?.({
      progress: Math.round(performance.now() - startedMs) / 1_000,
      message: `${count()} of ${total} ended`,
    });
  step();
  const timer = call.progress ? setInterval(step, PROGRESS_MS) : undefined;
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
