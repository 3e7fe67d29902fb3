import {
  createMcpHandler,
  hostHeaderValidationResponse,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  originValidationResponse,
} from '@modelcontextprotocol/server';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { JsonTooLarge, readBoundedJson } from '../std/json-bounds.ts';
import { atMost } from '../std/streams.ts';
import { McpContext } from './context.ts';
import type { Connect, McpOptions } from './context.ts';
import { withoutNullArguments } from './null-arguments.ts';
import { INVALID_REQUEST } from './replies.ts';
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
    maxRequestBodySize: limits.mcpBodyBytesMax,
  });
  return {
    fetch: async (request) => refusal(request) ?? (await answer(handler.fetch, request)),
    [Symbol.asyncDispose]: async () => {
      await handler.close();
      await context[Symbol.asyncDispose]();
    },
  };
}

/** Lets the handler answer a request whose body is no more work than a tool call may be. */
async function answer(handle: McpHttp['fetch'], request: Request): Promise<Response> {
  if (request.body === null) return handle(request);
  const { mcpBodyBytesMax, jsonValuesMax: valuesMax, jsonMembersMax: membersMax, jsonDepthMax: depthMax } = limits;
  try {
    const excess = (): Error => new JsonTooLarge('bytes', mcpBodyBytesMax);
    const bytes = atMost(request.body, mcpBodyBytesMax, excess);
    const body = await readBoundedJson(bytes, { valuesMax, membersMax, depthMax });
    const { url, method, headers, signal } = request;
    return await handle(new Request(url, { method, headers, signal, body: withoutNullArguments(body) }));
  } catch (error) {
    if (!(error instanceof JsonTooLarge)) throw error;
    const { message } = fault('BODY_TOO_COMPLEX', { what: error.what, limit: error.limit });
    return Response.json({ jsonrpc: '2.0', id: null, error: { code: INVALID_REQUEST, message } }, { status: 413 });
  }
}
