import type { CallToolResult, InputRequiredResult, ServerContext } from '@modelcontextprotocol/server';
import { limits } from '../contract/limits.ts';
import type { OperationResponse } from '../contract/operation.ts';
import { present } from '../std/present.ts';
import { annotationsOf, callTool, jsonSchemaOf, type SignIn, type SurfaceCall, type Tool } from '../tools/index.ts';
import { meansStop } from './session.ts';
import { InputNeeded, Questions } from './questions.ts';
import { resultOf } from './replies.ts';
import type { McpSession } from './session.ts';
import type { McpContext } from './context.ts';
import { asTask, takesTasks } from './tasks.ts';

/** Registers the chosen tools on a server instance. */
export function registerTools(session: McpSession): void {
  for (const tool of session.context.tools) {
    const { name, title, description } = tool;
    session.server.registerTool(
      name,
      {
        title,
        description,
        annotations: annotationsOf(tool),
        inputSchema: advertised(tool, 'input'),
        outputSchema: advertised(tool, 'output'),
      },
      async (args: unknown, request) => await session.context.call(() => answer(session, tool, args, request)),
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
  session: McpSession,
  tool: Tool,
  args: unknown,
  request: ServerContext,
): Promise<CallToolResult | InputRequiredResult> {
  let leftBehind: OperationResponse | undefined;
  try {
    const call = callFor(session, request, (operation) => (leftBehind = operation));
    const result = resultOf(await callTool(tool, args, call, (error) => error instanceof InputNeeded));
    return leftBehind === undefined ? result : asTask(leftBehind, result);
  } catch (error) {
    if (error instanceof InputNeeded) return error.result;
    throw error;
  }
}

function callFor(
  session: McpSession,
  request: ServerContext,
  onHandoff: (operation: OperationResponse) => void,
): SurfaceCall {
  const { context, link, request: http } = session;
  const questions = new Questions(session, request);
  const { signal, notify, _meta: meta } = request.mcpReq;
  const { onDisconnect = 'stop', allowTokenArgument = false, closing } = context.options;
  const { localFiles, accounts, hostEnv, program } = context.options;
  const progressToken = meta?.progressToken;
  return {
    connect: () => context.contree(http),
    signal,
    stopsWork: () => closing?.aborted !== true && meansStop(signal.reason, link, onDisconnect),
    inlineWaitMs: context.inlineWaitMs,
    ...(takesTasks(session, request) && {
      taskHandoff: { afterMs: context.options.taskAfterMs ?? limits.taskAfterMs, take: onHandoff },
    }),
    log: (line) => context.log(line),
    ...(progressToken !== undefined && {
      progress: (step) => {
        // A disconnected client is handled elsewhere.
        notify({ method: 'notifications/progress', params: { progressToken, ...step } }).catch(() => {});
      },
    }),
    missingTools: context.missingTools,
    ...present({ localFiles, accounts, hostEnv, program }),
    allowTokenArgument,
    ask: questions.ask,
    signIn: signInFor(context, questions, signal),
  };
}

/** Returns how a call has the user sign in: by URL elicitation where the client can, else by naming the next step. */
function signInFor(
  { signIn, inlineWaitMs }: McpContext,
  questions: Questions,
  signal: AbortSignal,
): (registry: string) => Promise<SignIn> {
  return async (registry) => {
    if (!signIn.available) return { status: 'unsupported' };
    const about = `sign in to ${registry}`;
    const answer = questions.answerTo(about);
    const page = answer?.state.page;
    if (answer !== undefined && page !== undefined) {
      if (answer.outcome !== 'agreed') {
        signIn.close(page);
        // Nobody has seen the page, so the terminal is the way that is left.
        return { status: answer.outcome === 'declined' ? 'declined' : 'unsupported' };
      }
      // To accept is only to have opened the page.
      const done = await signIn.wait(page, inlineWaitMs, signal);
      return { status: done ? 'authenticated' : 'pending' };
    }
    const { id, url } = await signIn.open(registry);
    if (!questions.possible('page')) return { status: 'unsupported', url };
    const message = `Sign in to ${registry}: enter a read-only token on a page of this machine.`;
    return await questions.put({ about, message, url }, { page: id });
  };
}
