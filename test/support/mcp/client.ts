import { Client, type ClientOptions } from '@modelcontextprotocol/client';
import { InMemoryTransport } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import type { ConTree } from '../../../src/contract/contree.ts';
import { McpContext } from '../../../src/mcp/context.ts';
import type { McpOptions } from '../../../src/mcp/context.ts';
import { buildServer } from '../../../src/mcp/server.ts';

export type Era = 'legacy' | 'modern';
export const ERAS: readonly Era[] = ['legacy', 'modern'];

export interface TestConnection extends AsyncDisposable {
  readonly client: Client;
  readonly context: McpContext;
  /** Lines the server logged. */
  readonly logged: string[];
  /** Calls a tool and returns the parts of its answer that tests check. */
  call(name: string, args?: Record<string, unknown>, options?: Parameters<Client['callTool']>[1]): Promise<ToolAnswer>;
}

export interface ToolAnswer {
  readonly text: string;
  readonly isError: boolean;
  // Tests assert on fields of many shapes.
  // eslint-disable-next-line typescript/no-explicit-any
  readonly structured: any;
  readonly links: readonly string[];
  readonly meta: Readonly<Record<string, unknown>>;
}

/** Connects the real client to the real server over linked transports; the server uses the given ConTree. */
export async function connectMcp(
  contree: ConTree | (() => Promise<ConTree>),
  era: Era = 'modern',
  options: Partial<McpOptions> & { client?: ClientOptions; prepare?: (client: Client) => void } = {},
): Promise<TestConnection> {
  const { client: clientOptions, prepare, ...serverOptions } = options;
  const logged: string[] = [];
  const connect = typeof contree === 'function' ? contree : (): Promise<ConTree> => Promise.resolve(contree);
  const context = new McpContext(connect, { version: '0', log: (line) => logged.push(line), ...serverOptions });
  const [ours, theirs] = InMemoryTransport.createLinkedPair();
  const handle = serveStdio((request) => buildServer(context, request, 'stdio'), { transport: theirs });
  const client = new Client(
    { name: 'test', version: '0' },
    { ...clientOptions, versionNegotiation: { mode: era === 'modern' ? 'auto' : 'legacy' } },
  );
  prepare?.(client);
  await client.connect(ours);
  return {
    client,
    context,
    logged,
    call: async (name, args = {}, requestOptions) =>
      answerOf(await client.callTool({ name, arguments: args }, requestOptions)),
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await handle.close();
      await context[Symbol.asyncDispose]();
    },
  };
}

export function answerOf(result: Awaited<ReturnType<Client['callTool']>>): ToolAnswer {
  const texts = result.content.flatMap((block) => (block.type === 'text' ? [block.text] : []));
  return {
    text: texts[0] ?? '',
    isError: result.isError === true,
    structured: result.structuredContent,
    links: result.content.flatMap((block) => (block.type === 'resource_link' ? [block.uri] : [])),
    meta: result._meta ?? {},
  };
}
