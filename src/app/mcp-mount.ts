import { inProcessContree } from '../client/index.ts';
import type { App, Mount } from '../http/app.ts';
import type { McpOptions } from '../mcp/context.ts';
import { createMcpHttp } from '../mcp/http.ts';
import { assert } from '../std/assert.ts';

/** Headers that identify the caller and the project. */
const PASSED_ON = ['authorization', 'project'] as const;

/**
 * Returns the mount of MCP at `/mcp` of a server. Every call uses the server's own API with the headers of the caller,
 * so a token has the same permissions in both.
 */
export function mcpMount(options: McpOptions): Mount & AsyncDisposable {
  let api: App | undefined;
  const mcp = createMcpHttp(
    async (request) => {
      assert(api !== undefined, 'the mount has been asked');
      const given = PASSED_ON.map((name) => [name, request?.headers.get(name)] as const);
      return inProcessContree(api, Object.fromEntries(given.filter(([, value]) => value)) as Record<string, string>);
    },
    // The server in front has checked Host and Origin.
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
