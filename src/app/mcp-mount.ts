import { inProcessContree } from '../client/index.ts';
import type { App, Mount } from '../http/app.ts';
import { createMcpHttp, type McpOptions } from '../mcp/index.ts';
import { assert } from '../std/assert.ts';

/** Who calls, and in which project. */
const PASSED_ON = ['authorization', 'project'] as const;

/**
 * MCP at `/mcp` of a server. Every call is a client of the server's own API with the headers of whoever calls, so what a
 * token may not do there it may not do here.
 */
export function mcpMount(options: McpOptions): Mount & AsyncDisposable {
  let api: App | undefined;
  const mcp = createMcpHttp(
    async (request) => {
      assert(api !== undefined, 'the mount has been asked');
      const given = PASSED_ON.map((name) => [name, request?.headers.get(name)] as const);
      return inProcessContree(api, Object.fromEntries(given.filter(([, value]) => value)) as Record<string, string>);
    },
    // The server in front has looked at Host and Origin.
    { ...options, allowedHosts: 'any' },
  );
  return {
    path: '/mcp',
    open: false,
    fetch: (request, _principal, app) => {
      api = app;
      return mcp.fetch(request);
    },
    [Symbol.asyncDispose]: () => mcp[Symbol.asyncDispose](),
  };
}
