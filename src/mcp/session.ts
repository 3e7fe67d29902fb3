import { CLIENT_CAPABILITIES_META_KEY, type McpServer, type ServerContext } from '@modelcontextprotocol/server';
import type { McpContext } from './context.ts';

/** Transport and protocol era of a client: they decide what it can say, and what the end of a call means. */
export interface ClientLink {
  readonly transport: 'stdio' | 'http';
  readonly era: 'legacy' | 'modern';
}

/** One server instance with the client it serves: a stdio connection, or one HTTP request. */
export interface McpSession {
  readonly context: McpContext;
  readonly server: McpServer;
  readonly link: ClientLink;
  /** The HTTP request that is served. */
  readonly request?: globalThis.Request;
}

/**
 * Returns the capabilities that the client of a request declared: with every request since 2026-07-28, once in the
 * handshake before. Undefined where none were declared, as with clients before that over HTTP, which is stateless here.
 */
export function clientCapabilities({ server, link }: McpSession, request: ServerContext): unknown {
  if (link.era === 'legacy') return link.transport === 'http' ? undefined : server.server.getClientCapabilities();
  const envelope = request.mcpReq.envelope as Readonly<Record<string, unknown>> | undefined;
  return envelope?.[CLIENT_CAPABILITIES_META_KEY];
}

/**
 * Reasons of clients that have stopped waiting by themselves: their own timeouts, as the SDKs word them, and the end of
 * the connection. Codex ("cancelled by caller") words its timeout as its user's cancellation; then nothing is lost when
 * the operation continues.
 */
const WENT_AWAY = /connection closed|tim(?:ed|e)[ -]?out|deadline|cancell?ed by caller/iu;

/**
 * Reports whether an aborted call means that the work it started is to stop. Over HTTP a closed stream is a cancellation
 * since revision 2026-07-28 and was none before; over stdio a cancellation comes as a message whose reason tells a
 * user's from a client's own timeout; the end of the connection never is one.
 */
export function meansStop(reason: unknown, link: ClientLink, onDisconnect: 'stop' | 'detach'): boolean {
  if (link.transport === 'http') return link.era === 'modern' && onDisconnect === 'stop';
  const text = reason instanceof Error ? reason.message : String(reason);
  return !WENT_AWAY.test(text);
}
