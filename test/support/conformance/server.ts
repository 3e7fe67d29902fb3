import {
  createMcpHandler,
  hostHeaderValidationResponse,
  isLegacyRequest,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  originValidationResponse,
  WebStandardStreamableHTTPServerTransport,
  type McpRequestContext,
  type McpServer,
} from '@modelcontextprotocol/server';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { McpContext } from '../../../src/mcp/context.ts';
import { buildServer } from '../../../src/mcp/server.ts';
import { registerContents } from './contents.ts';
import { registerPushed, registerRounds } from './questions.ts';
import { computingContree, registerLong } from './tasks.ts';

export interface FixtureServer extends AsyncDisposable {
  readonly url: string;
}

/**
 * The product's server factory with the fixtures of the conformance suite registered on top, over HTTP. The product has
 * no sessions; they are added here for clients of 2025-11-25, to which the suite's elicitation requests are sent.
 */
export async function serveFixtures(): Promise<FixtureServer> {
  const contree = computingContree();
  const context = new McpContext(() => Promise.resolve(contree), { version: '0', log: () => {} });
  const build = (request: McpRequestContext): McpServer => {
    const server = withFixtures(buildServer(context, request, 'http'), context);
    registerLong({ context, server, link: { transport: 'http', era: request.era } }, contree);
    return server;
  };
  const modern = createMcpHandler(build, { legacy: 'reject' });
  const sessions = new Sessions(() => build({ era: 'legacy' }));
  const fetch = async (request: Request): Promise<Response> =>
    hostHeaderValidationResponse(request, localhostAllowedHostnames()) ??
    originValidationResponse(request, localhostAllowedOrigins()) ??
    ((await isLegacyRequest(request)) ? await sessions.fetch(request) : await modern.fetch(request));
  const handler = toNodeHandler({ fetch });
  const server = createServer((request, response) => void handler(request as never, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    [Symbol.asyncDispose]: async () => {
      await modern.close();
      await sessions[Symbol.asyncDispose]();
      await context[Symbol.asyncDispose]();
      await contree[Symbol.asyncDispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function withFixtures(server: McpServer, context: McpContext): McpServer {
  const subscribed = new Set<string>();
  server.server.registerCapabilities({ logging: {}, resources: { subscribe: true } });
  server.server.setRequestHandler('resources/subscribe', ({ params }) => (subscribed.add(params.uri), {}));
  server.server.setRequestHandler('resources/unsubscribe', ({ params }) => (subscribed.delete(params.uri), {}));
  registerContents(server);
  registerPushed(server);
  registerRounds(server, context);
  return server;
}

/** Keeps one server instance per session of a client before 2026-07-28. */
class Sessions implements AsyncDisposable {
  readonly #build: () => McpServer;
  readonly #transports = new Map<string, WebStandardStreamableHTTPServerTransport>();

  constructor(build: () => McpServer) {
    this.#build = build;
  }

  async fetch(request: Request): Promise<Response> {
    const id = request.headers.get('mcp-session-id');
    if (id === null) return await (await this.#open()).handleRequest(request);
    return (await this.#transports.get(id)?.handleRequest(request)) ?? new Response(null, { status: 404 });
  }

  async #open(): Promise<WebStandardStreamableHTTPServerTransport> {
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void this.#transports.set(id, transport),
      onsessionclosed: (id) => void this.#transports.delete(id),
    });
    await this.#build().connect(transport);
    return transport;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const transport of this.#transports.values()) await transport.close();
  }
}
