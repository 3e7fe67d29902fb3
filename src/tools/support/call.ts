import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import type { ContreeError } from '../../contract/errors.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import { parseArguments, withImages } from './arguments.ts';
import { asFault, failureText, withClosestFiles } from './failure.ts';
import { importImage } from '../images/import-image.ts';
import { outcomeOf } from './outcome.ts';
import { run } from '../operations/run.ts';
import { withProgram } from './text.ts';
import type { ResourceLink, SurfaceCall, Tool, ToolCall } from './tool.ts';

const ERROR_CHARACTERS_MAX = 9_000;

/** Outcome of a call for any surface: text for people, and the structured result or the fault. */
export type Reply =
  | {
      readonly ok: true;
      readonly text: string;
      readonly structured: Record<string, unknown>;
      readonly links: readonly ResourceLink[];
    }
  | { readonly ok: false; readonly text: string; readonly fault: ContreeError };

/**
 * Parses the arguments, runs the tool, and formats its result or fault. Rejects only with the signal's reason when the
 * call's signal fired, or with an error accepted by `isControlFlow`.
 */
export async function callTool(
  tool: Tool,
  raw: unknown,
  call: SurfaceCall,
  isControlFlow: (error: unknown) => boolean = () => false,
): Promise<Reply> {
  try {
    const { input, remark } = parseArguments(tool, raw);
    const answer = await handled(tool, input, call);
    return replyOf(tool, answer, input, remark);
  } catch (error) {
    if (isControlFlow(error)) throw error;
    return refusalOf(tool, error, call);
  }
}

async function handled(
  tool: Tool,
  input: Record<string, unknown>,
  call: SurfaceCall,
): Promise<Record<string, unknown>> {
  if (tool.offline) return await tool.handle(call, input);
  const contree = await call.connect();
  const resolved = await withImages(tool, input, contree, call.signal);
  try {
    return await tool.handle({ ...call, contree }, resolved);
  } catch (error) {
    throw await withClosestFiles(error, resolved, contree, call.signal);
  }
}

/** Returns the reply that the call that started a finished operation would have given if it had waited. */
export async function replyLater(
  operation: OperationResponse,
  call: Pick<ToolCall, 'contree' | 'signal' | 'log'>,
): Promise<Reply> {
  const tool = operation.kind === 'instance' ? run : importImage;
  try {
    const outputBytesMax = limits.toolOutputBytesDefault;
    // The text of an operation needs none of the arguments.
    return replyOf(tool, await outcomeOf(operation, { ...call, outputBytesMax }), {});
  } catch (error) {
    return refusalOf(tool, error, call);
  }
}

function replyOf(tool: Tool, answer: Record<string, unknown>, input: Record<string, unknown>, remark?: string): Reply {
  // In the order of the schema: what matters most to a model is read first.
  const structured = withRemark(z.parse(tool.output, answer), remark);
  const text = withRemarkLine(tool.text(structured, input), remark).slice(0, limits.toolResultBytesMax);
  return { ok: true, text, structured, links: tool.links?.(structured) ?? [] };
}

function refusalOf(
  tool: Tool,
  error: unknown,
  { signal, log, program }: Pick<SurfaceCall, 'signal' | 'log' | 'program'>,
): Reply {
  if (signal.aborted) throw error;
  const fault = asFault(error, log);
  return { ok: false, text: withProgram(failureText(fault, tool.name), program).slice(0, ERROR_CHARACTERS_MAX), fault };
}

/** Adds the remark about ignored arguments first: it may explain an unexpected result. */
function withRemark(answer: Record<string, unknown>, remark: string | undefined): Record<string, unknown> {
  if (remark === undefined) return answer;
  const { hint } = answer;
  return { ...answer, hint: typeof hint === 'string' ? `${remark} ${hint}` : remark };
}

function withRemarkLine(text: string, remark: string | undefined): string {
  return remark === undefined || text.includes(remark) ? text : `${text}\nNote: ${remark}`;
}
