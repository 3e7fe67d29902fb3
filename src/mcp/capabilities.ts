import { CLIENT_CAPABILITIES_META_KEY, type McpServer, type ServerContext } from '@modelcontextprotocol/server';
import type { Channel } from './abort.ts';

/**
 * Returns the capabilities of the client: sent with every request since protocol 2026-07-28, and once in the handshake
 * before. Returns undefined when they are unknown, as for older clients over HTTP, which is stateless here.
 */
export function clientCapabilities(server: McpServer, request: ServerContext, { transport, era }: Channel): unknown {
  if (era === 'legacy') return transport === 'http' ? undefined : server.server.getClientCapabilities();
  const envelope = request.mcpReq.envelope as Readonly<Record<string, unknown>> | undefined;
  return envelope?.[CLIENT_CAPABILITIES_META_KEY];
}
