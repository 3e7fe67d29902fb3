import { withTasks, type TaskEnabledSession } from '@modelcontextprotocol/ext-tasks/client';
import { InMemoryTransport, type JSONRPCMessage } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import type { ConTree } from '../../../src/contract/contree.ts';
import { McpContext } from '../../../src/mcp/context.ts';
import { createMcpHttp } from '../../../src/mcp/http.ts';
import type { McpOptions } from '../../../src/mcp/context.ts';
import { buildServer } from '../../../src/mcp/server.ts';

type Session = Parameters<typeof withTasks>[0];
type Answer = Awaited<ReturnType<Session['dispatch']>>;
type Json = Parameters<Session['dispatch']>[0];

/** A server with the official client of the Tasks extension and a way to send raw requests. */
export interface TaskClient extends AsyncDisposable {
  readonly tasks: TaskEnabledSession;
  /** Sends a request of revision 2026-07-28; `declared` says whether its client supports tasks. */
  send(method: string, params: Record<string, unknown>, declared?: boolean): Promise<Answer>;
}

export const TRANSPORTS = ['stdio', 'http'] as const;

export function openTaskClient(
  contree: ConTree,
  transport: (typeof TRANSPORTS)[number],
  options: Partial<McpOptions> = {},
): TaskClient {
  const { exchange, close } = { stdio: overStreams, http: overHttp }[transport](contree, {
    version: '0',
    log: () => {},
    ...options,
  });
  let id = 0;
  const send: TaskClient['send'] = async (method, params, declared = true) => {
    const extensions = declared ? { 'io.modelcontextprotocol/tasks': {} } : {};
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientInfo': { name: 'test', version: '0' },
      'io.modelcontextprotocol/clientCapabilities': { extensions },
    };
    const answer = await exchange({ jsonrpc: '2.0', id: (id += 1), method, params: { ...params, _meta } });
    if ('error' in answer) return { kind: 'error', error: answer.error as never };
    return { kind: 'result', result: (answer as { result: Json }).result };
  };
  const nothing = (): (() => void) => () => {};
  const tasks = withTasks({
    endpointId: 'test',
    taskCapabilities: { generation: 'v2', capabilities: {} },
    dispatch: async (request) => {
      const { method, params } = request as unknown as { method: string; params?: Record<string, unknown> };
      return await send(method, params ?? {});
    },
    onServerRequest: nothing,
    onNotification: nothing,
    onInvalidated: nothing,
    invalidated: false,
  });
  return {
    tasks,
    send,
    [Symbol.asyncDispose]: async () => {
      await tasks.close();
      await close();
    },
  };
}

interface Wire {
  readonly exchange: (request: Request) => Promise<object>;
  readonly close: () => Promise<void>;
}

type Request = { readonly jsonrpc: '2.0'; readonly id: number; readonly method: string; readonly params: object };

function overStreams(contree: ConTree, options: McpOptions): Wire {
  const context = new McpContext(() => Promise.resolve(contree), options);
  const [ours, theirs] = InMemoryTransport.createLinkedPair();
  const handle = serveStdio((request) => buildServer(context, request, 'stdio'), { transport: theirs });
  const waiting = new Map<unknown, (answer: object) => void>();
  // The transport of the SDK is not an EventTarget.
  // oxlint-disable-next-line unicorn/prefer-add-event-listener
  ours.onmessage = (message: JSONRPCMessage) => {
    if ('id' in message && !('method' in message)) waiting.get(message.id)?.(message);
  };
  const started = ours.start();
  return {
    exchange: async (request) => {
      await started;
      const answer = Promise.withResolvers<object>();
      waiting.set(request.id, answer.resolve);
      await ours.send(request as JSONRPCMessage);
      return await answer.promise;
    },
    close: async () => {
      await ours.close();
      await handle.close();
      await context[Symbol.asyncDispose]();
    },
  };
}

function overHttp(contree: ConTree, options: McpOptions): Wire {
  const mcp = createMcpHttp(() => Promise.resolve(contree), options);
  return {
    exchange: async (request) => {
      const { name, taskId } = request.params as { name?: string; taskId?: string };
      const response = await mcp.fetch(
        new globalThis.Request('http://localhost/mcp', {
          method: 'POST',
          headers: {
            host: 'localhost',
            'content-type': 'application/json',
            accept: 'application/json, text/event-stream',
            'mcp-protocol-version': '2026-07-28',
            'mcp-method': request.method,
            'mcp-name': name ?? taskId ?? '',
          },
          body: JSON.stringify(request),
        }),
      );
      const body = await response.text();
      const events = [...body.matchAll(/^data: (.*)$/gmu)].map(([, data = '']) => JSON.parse(data) as { id?: number });
      return events.find(({ id }) => id === request.id) ?? (JSON.parse(body) as object);
    },
    close: async () => await mcp[Symbol.asyncDispose](),
  };
}
