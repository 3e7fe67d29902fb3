import { createHash } from 'node:crypto';
import { createServer, request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { opened } from '../../conformance/instances.ts';
import { serveBench, type ServedEngine, type TokenClient } from './served-engine.ts';

/** Port of the guest's web server. */
export const WEB = 8_000;
/** Port of a guest's server that answers with raw bytes. */
export const RAW = 8_001;

export interface Page extends AsyncDisposable {
  readonly served: ServedEngine;
  readonly client: TokenClient;
  /** UUID of the instance. */
  readonly uuid: string;
  /** Port of the listener. */
  readonly listener: number;
  /** Host of the pages of a port. */
  host(port?: number): string;
  ask(asked?: Asked): Promise<Answered>;
  /** Sends raw bytes to the listener, and returns all that comes back until the connection ends. */
  raw(bytes: string): Promise<string>;
}

export interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** Port of another listener than that of the engine. */
  readonly listener?: number;
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

/** Serves an engine with an open instance in which a web server listens at `WEB`, and another, if given, at `RAW`. */
export async function openPage(listener: RequestListener, raw?: (stream: Duplex) => void): Promise<Page> {
  await using cleanup = new AsyncDisposableStack();
  const web = createServer(listener).on('upgrade', echoWebSocket);
  const servers = new Map<number, (stream: Duplex) => void>([[WEB, (stream) => web.emit('connection', stream)]]);
  if (raw !== undefined) servers.set(RAW, raw);
  const served = cleanup.use(await serveBench({ hooks: { servers } }));
  const client = await served.client();
  const uuid = await opened(served.bench.engine, { image: served.bench.base.uuid });
  const { port } = new URL(served.address);
  const host = (at = WEB): string => `${at}-${uuid}.localhost:${port}`;
  const owned = cleanup.move();
  return {
    served,
    client,
    uuid,
    listener: Number(port),
    host,
    ask: async ({ method = 'GET', path = '/', host: at = host(), headers = {}, body, listener: to = port } = {}) => {
      const sent = httpRequest({
        port: to,
        host: '127.0.0.1',
        method,
        path,
        headers: { host: at, ...headers },
        agent: false,
      });
      sent.end(body);
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        sent.on('response', resolve).on('error', reject);
      });
      const text = (await buffer(answer)).toString();
      return { status: answer.statusCode ?? 0, headers: answer.headers, text };
    },
    raw: async (bytes) => {
      const socket = connect(Number(port), '127.0.0.1');
      socket.write(bytes, 'latin1');
      const all: Buffer[] = [];
      for await (const chunk of socket) all.push(chunk as Buffer);
      return Buffer.concat(all).toString('latin1');
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Accepts a WebSocket (RFC 6455 §4.2.2) and sends every byte that comes after the handshake back. */
function echoWebSocket(request: IncomingMessage, socket: Duplex, first: Buffer): void {
  const key = `${request.headers['sec-websocket-key'] ?? ''}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash('sha1').update(key).digest('base64');
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
  socket.write(`${[...lines, `Sec-WebSocket-Accept: ${accept}`].join('\r\n')}\r\n\r\n`);
  socket.write(first);
  socket.on('error', () => undefined).pipe(socket);
}
