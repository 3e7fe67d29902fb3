import { Readable } from 'node:stream';
import type { JSONRPCErrorResponse } from '@modelcontextprotocol/server';
import { serveStdio, StdioServerTransport } from '@modelcontextprotocol/server/stdio';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { settlesWithin } from '../std/abort.ts';
import { McpContext } from './context.ts';
import type { Connect, McpOptions } from './context.ts';
import { messageLines } from './message-lines.ts';
import { withoutNullArguments } from './null-arguments.ts';
import { INVALID_REQUEST } from './replies.ts';
import { buildServer } from './server.ts';

/** Longest time to close: the process must exit within two seconds of the end of its input, whatever hangs. */
const CLOSE_MS_MAX = 1_500;

/**
 * Serves MCP on this process's standard input and output until the input ends or `signal` fires, then closes the
 * connection to the engine and returns; operations go on there. Exit the process when it returns:
 *
 *     await serveMcpStdio(() => connect(settings), { version });
 *     process.exit(0);
 *
 * `connect` is called on the first call that needs the engine, not before. Nothing but the protocol may be written to
 * standard output meanwhile. The budgets (first reply in 180 ms, 90 MB idle) hold for the bundled program when it
 * enables Node's compile cache before it imports anything (`module.enableCompileCache()`).
 */
export async function serveMcpStdio(connect: Connect, options: McpOptions, signal?: AbortSignal): Promise<void> {
  const context = new McpContext(connect, options);
  const transport = new WatchedTransport((id) => {
    const { message, hint } = fault('BODY_TOO_LARGE', { limit: limits.mcpBodyBytesMax });
    context.log(`a message was refused: ${message}`);
    return { jsonrpc: '2.0', id, error: { code: INVALID_REQUEST, message: `BODY_TOO_LARGE: ${message}\n${hint}` } };
  });
  const handle = serveStdio((request) => buildServer(context, request, 'stdio'), {
    transport,
    onerror: (error) => context.log(error.message),
  });
  const stop = (): void => void transport.close();
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted) stop();
  await transport.closed;
  signal?.removeEventListener('abort', stop);
  const closed = handle.close().then(() => context[Symbol.asyncDispose]());
  if (await settlesWithin(closed, CLOSE_MS_MAX)) await closed;
}

async function* readable(lines: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const line of lines) yield Buffer.from(`${withoutNullArguments(line.toString('utf8')).trimEnd()}\n`);
}

/** Returns the reply to a request that is too long to be read. */
type Refusal = (id: string | number | undefined) => JSONRPCErrorResponse;

/**
 * Transport that reports the end of the connection for any reason; the SDK's entry point, which owns the transport,
 * does not. A message that is too long is refused, where the SDK's transport would end.
 */
class WatchedTransport extends StdioServerTransport {
  readonly #closed = Promise.withResolvers<void>();
  readonly closed: Promise<void> = this.#closed.promise;

  constructor(refusal: Refusal) {
    const bytesMax = limits.mcpBodyBytesMax;
    const refuse = (id: string | number | undefined): void => {
      // A client that is gone needs no answer.
      this.send(refusal(id)).catch(() => {});
    };
    const lines = messageLines(process.stdin, bytesMax, refuse);
    super(Readable.from(readable(lines)), process.stdout, { maxBufferSize: bytesMax });
  }

  override async close(): Promise<void> {
    await super.close();
    this.#closed.resolve();
  }
}
