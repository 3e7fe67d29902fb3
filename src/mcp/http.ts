import {
  createMcpHandler,
  hostHeaderValidationResponse,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  originValidationResponse,
} from '@modelcontextprotocol/server';
import { McpContext } from './context.ts';
import type { Connect, McpOptions } from './context.ts';
import { buildServer } from './server.ts';

export interface McpHttpOptions extends McpOptions {
  /**
   * Host names, without port, accepted besides this machine's own; `any` where a server in front has checked Host and
   * Origin.
   */
  readonly allowedHosts?: readonly string[] | 'any';
}

/** Web-standard handler of MCP over HTTP, to be mounted at `/mcp`. */
export interface McpHttp extends AsyncDisposable {
  /** Answers one request; its body must not have been read. Never rejects. */
  readonly fetch: (request: Request) => Promise<Response>;
}

/**
 * Creates the handler. Requests with a foreign Host or Origin are refused with 403, so that no web page reaches this
 * server through a user's browser. The caller checks tokens: `connect` gets the request and may throw.
 */
export function createMcpHttp(connect: Connect, options: McpHttpOptions): McpHttp {
  const context = new McpContext(connect, options);
  const { allowedHosts: names = [] } = options;
  const refusal = (request: Request): Response | undefined =>
    names === 'any'
      ? undefined
      : (hostHeaderValidationResponse(request, [...localhostAllowedHostnames(), ...names]) ??
        originValidationResponse(request, [...localhostAllowedOrigins(), ...names]));
  const handler = createMcpHandler((request) => buildServer(context, request, 'http'), {
    onerror: (error) => context.log(error.message),
  });
  return {
    fetch: async (request) => refusal(request) ?? (await handler.fetch(request)),
    [Symbol.asyncDispose]: async () => {
      await handler.close();
      await context[Symbol.asyncDispose]();
    },
  };
}
