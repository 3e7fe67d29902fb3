import type { McpServer } from '@modelcontextprotocol/server';
import type { Channel } from './abort.ts';
import type { McpContext } from './context.ts';

/** Context of a server instance, including the source of its connection. */
export interface Serving {
  readonly context: McpContext;
  readonly server: McpServer;
  readonly channel: Channel;
  readonly request?: globalThis.Request;
}
