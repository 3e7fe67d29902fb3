import type { CallToolResult, InputRequiredResult, McpServer, ServerContext } from '@modelcontextprotocol/server';
import { annotationsOf, callTool, jsonSchemaOf, type Reply, type Tool, type SurfaceCall } from '../tools/index.ts';
import { meansStop, type Channel } from './abort.ts';
import type { McpContext } from './context.ts';
import { InputNeeded, signInFor } from './sign-in.ts';

/** Where a server instance gets its connection from. */
export interface Serving {
  readonly context: McpContext;
  readonly server: McpServer;
  readonly channel: Channel;
  readonly request?: globalThis.Request;
}

/** Offers the chosen tools on a server instance. */
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
      async (args: unknown, request) => await answer(serving, tool, args, request),
    );
  }
}

const schemas = new Map<string, Record<string, unknown>>();

/**
 * The schema as clients see it. Checking is left to the tool itself, which names unknown arguments and says what to do
 * about wrong ones; the SDK would only say that they are wrong.
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
  try {
    const call = callFor(serving, request);
    return resultOf(await callTool(tool, args, call, (error) => error instanceof InputNeeded));
  } catch (error) {
    if (error instanceof InputNeeded) return error.result;
    throw error;
  }
}

function callFor({ context, server, channel, request: http }: Serving, request: ServerContext): SurfaceCall {
  const { signal, notify, _meta: meta } = request.mcpReq;
  const { localFiles, accounts, onDisconnect = 'stop', allowTokenArgument = false } = context.options;
  const progressToken = meta?.progressToken;
  return {
    connect: () => context.contree(http),
    signal,
    stopsWork: () => meansStop(signal.reason, channel, onDisconnect),
    inlineWaitMs: context.inlineWaitMs,
    log: (line) => context.log(line),
    ...(progressToken !== undefined && {
      progress: (step) => {
        // A client that went away is noticed elsewhere.
        notify({ method: 'notifications/progress', params: { progressToken, ...step } }).catch(() => {});
      },
    }),
    ...(localFiles && { localFiles }),
    ...(accounts && { accounts }),
    allowTokenArgument,
    signIn: signInFor(context, server, request, channel),
  };
}

function resultOf(reply: Reply): CallToolResult {
  const text = { type: 'text' as const, text: reply.text };
  // Not as structured content: clients of the first SDK hold that against the output schema even of an error.
  if (!reply.ok) return { isError: true, content: [text], _meta: { 'contree/error': reply.fault.toJSON() } };
  const links = reply.links.map((link) => ({ type: 'resource_link' as const, ...link }));
  return { content: [text, ...links], structuredContent: reply.structured };
}
