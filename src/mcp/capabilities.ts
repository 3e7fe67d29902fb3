import { CLIENT_CAPABILITIES_META_KEY, type McpServer, type ServerContext } from '@modelcontextprotocol/server';
import type { Channel } from './abort.ts';

/**
 * What the client of a request says it can do: with every request since 2026-07-28, once in the handshake before.
 * Undefined where nobody said anything, as with clients before that over HTTP, which is stateless here.
 */
export function clientCapabilities(server: McpServer, request: ServerContext, { transport, era }: Channel): unknown {
  if (era === 'legacy') return transport === 'http' ? undefined : server.server.getClientCapabilities();
  const envelope = request.mcpReq.envelope as Readonly<Record<string, unknown>> | undefined;
  return envelope?.[CLIENT_CAPABILITIES_META_KEY];
}
