import type { CallToolResult, InputRequiredResult, ServerContext } from '@modelcontextprotocol/server';
import { limits } from '../contract/limits.ts';
import type { OperationResponse } from '../contract/operation.ts';
import { annotationsOf, callTool, jsonSchemaOf, type SurfaceCall, type Tool } from '../tools/index.ts';
import { meansStop } from './abort.ts';
import { InputNeeded, Questions } from './questions.ts';
import { resultOf } from './result.ts';
import type { Serving } from './serving.ts';
import { signInFor } from './sign-in.ts';
import { asTask, takesTasks } from './tasks.ts';

/** Registers the chosen tools on a server instance. */
export function registerTools(serving: Serving): void {
  for (const tool of serving.context.tools) {
    const { name, title, description } = tool;
    serving.server.registerTool(
      name,
      {
        title,
        description,
        annotations: annotationsOf(tool),
        inputSchema: advertised(tool, 'input'),
        outputSchema: advertised(tool, 'output'),
      },
      async (args: unknown, request) => await serving.context.call(() => answer(serving, tool, args, request)),
    );
  }
}

const schemas = new Map<string, Record<string, unknown>>();

/**
 * Returns the schema as clients see it. Validation is left to the tool itself, which names unknown arguments and
 * explains how to correct invalid ones; the SDK would only reject them.
 */
function advertised(tool: Tool, io: 'input' | 'output') {
  const json = (): Record<string, unknown> => {
    const key = `${tool.name} ${io}`;
    const schema = schemas.get(key) ?? jsonSchemaOf(tool[io], io);
    schemas.set(key, schema);
    return schema;
  };
  return {
    '~standard': {
      version: 1 as const,
      vendor: 'contree',
      validate: (value: unknown) => ({ value }),
      jsonSchema: { input: json, output: json },
    },
  };
}

async function answer(
  serving: Serving,
  tool: Tool,
  args: unknown,
  request: ServerContext,
): Promise<CallToolResult | InputRequiredResult> {
  let leftBehind: OperationResponse | undefined;
  try {
    const call = callFor(serving, request, (operation) => (leftBehind = operation));
    const result = resultOf(await callTool(tool, args, call, (error) => error instanceof InputNeeded));
    return leftBehind === undefined ? result : asTask(leftBehind, result);
  } catch (error) {
    if (error instanceof InputNeeded) return error.result;
    throw error;
  }
}

function callFor(
  serving: Serving,
  request: ServerContext,
  onHandOver: (operation: OperationResponse) => void,
): SurfaceCall {
  const { context, channel, request: http } = serving;
  const questions = new Questions(serving, request);
  const { signal, notify, _meta: meta } = request.mcpReq;
  const { localFiles, accounts, onDisconnect = 'stop', allowTokenArgument = false, closing, hostEnv } = context.options;
  const progressToken = meta?.progressToken;
  return {
    connect: () => context.contree(http),
    signal,
    stopsWork: () => closing?.aborted !== true && meansStop(signal.reason, channel, onDisconnect),
    inlineWaitMs: context.inlineWaitMs,
    ...(takesTasks(serving, request) && {
      handOver: { afterMs: context.options.taskAfterMs ?? limits.taskAfterMs, take: onHandOver },
    }),
    log: (line) => context.log(line),
    ...(progressToken !== undefined && {
      progress: (step) => {
        // A disconnected client is handled elsewhere.
        notify({ method: 'notifications/progress', params: { progressToken, ...step } }).catch(() => {});
      },
    }),
    ...(localFiles && { localFiles }),
    ...(accounts && { accounts }),
    ...(hostEnv && { hostEnv }),
    allowTokenArgument,
    ask: questions.ask,
    signIn: signInFor(context, questions, signal),
  };
}
