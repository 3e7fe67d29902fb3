import type { McpServer } from '@modelcontextprotocol/server';
import type { Channel } from './abort.ts';
import type { McpContext } from './context.ts';

/** Where a server instance gets its connection from. */
export interface Serving {
  readonly context: McpContext;
  readonly server: McpServer;
  readonly channel: Channel;
  readonly request?: globalThis.Request;
}
