import { McpServer, type McpRequestContext } from '@modelcontextprotocol/server';
import type { ClientLink } from './session.ts';
import { completionsFor } from './completion.ts';
import type { McpContext } from './context.ts';
import { instructionsFor } from './instructions.ts';
import { registerPrompts } from './prompts.ts';
import { registerResources } from './resources.ts';
import type { McpSession } from './session.ts';
import { registerTasks } from './tasks.ts';
import { registerTools } from './tools.ts';

const HOUR_MS = 3_600_000;

/**
 * Creates one server instance for a stdio connection or for one HTTP request. It is the same for every protocol
 * revision; the SDK speaks the one that the client chose.
 */
export function buildServer(
  context: McpContext,
  { era, requestInfo }: McpRequestContext,
  transport: ClientLink['transport'],
): McpServer {
  const lists = { ttlMs: HOUR_MS, cacheScope: 'public' } as const;
  const server = new McpServer(
    // It is part of every modern result, so it is kept small.
    { name: 'contree', title: 'ConTree', version: context.options.version },
    {
      instructions: instructionsFor(context.tools, context.options.hostEnv),
      capabilities: {
        tools: { listChanged: false },
        prompts: { listChanged: false },
        resources: { listChanged: false },
      },
      cacheHints: {
        'tools/list': lists,
        'prompts/list': lists,
        'resources/list': lists,
        'resources/templates/list': lists,
        'server/discover': lists,
      },
      requestState: { verify: (state, request) => context.stateCodec.verify(state, request) },
    },
  );
  const session: McpSession = {
    context,
    server,
    link: { transport, era },
    ...(requestInfo && transport === 'http' && { request: requestInfo }),
  };
  const completions = completionsFor(() => context.contree(session.request), context.names);
  registerTools(session);
  // Before 2026-07-28 tasks were a different extension that few clients implemented.
  if (era === 'modern' && context.tools.some(({ cost }) => cost === 'vm')) registerTasks(session);
  registerResources(session, completions);
  registerPrompts(session, completions);
  return server;
}
