import { request as httpRequest, type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fault } from '../../contract/errors.ts';
import { join } from '../../std/streams.ts';
import { answerHeaders, type ForwardedRequest, requestHeaders } from './headers.ts';

/** Message of a client, and the connection to the guest that it is for. */
export interface Forwarding extends ForwardedRequest {
  readonly request: IncomingMessage;
  readonly stream: Duplex;
  readonly port: number;
}

/**
 * Sends a request to the guest and resolves with its answer. Node's parser reads both sides and its serializer writes both, so
 * no byte that one of them could read in another way is passed on. Faults: PORT_UNREACHABLE.
 */
export async function answered(forwarding: Forwarding, upgrade?: string): Promise<Answered> {
  const { request, stream, port } = forwarding;
  const { promise, resolve, reject } = Promise.withResolvers<Answered>();
  const headers = requestHeaders(request, forwarding);
  if (upgrade !== undefined) Object.assign(headers, { connection: 'Upgrade', upgrade });
  const { method = 'GET', url: path = '/' } = request;
  const outgoing = httpRequest({ createConnection: () => stream, method, path, headers, setHost: false });
  outgoing.on('response', (answer) => resolve({ answer, outgoing }));
  outgoing.on('upgrade', (answer, _socket, head) => {
    if (upgrade !== undefined) resolve({ answer, outgoing, head });
    // The caller ends the stream, which the request has released.
    else reject(fault('PORT_UNREACHABLE', { port, reason: 'it switched protocols without being asked' }));
  });
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    const reason = error.code?.startsWith('HPE_')
      ? 'its answer is not HTTP'
      : 'it closed the connection without an answer';
    reject(fault('PORT_UNREACHABLE', { port, reason }, { cause: error }));
  });
  // A guest that answers early may leave the rest of the body unread.
  if (upgrade === undefined) pipeline(request, outgoing).catch(() => undefined);
  else outgoing.end();
  return promise;
}

/** Answer of the guest; `head` holds the first bytes after it if the guest switched protocols. */
export interface Answered {
  readonly answer: IncomingMessage;
  readonly outgoing: ClientRequest;
  readonly head?: Buffer;
}

/** Passes an answer on at the pace of its reader. Rejects, with the connection cut, when either side leaves early. */
export async function passOn({ answer, outgoing }: Answered, response: ServerResponse): Promise<void> {
  response.once('close', () => outgoing.destroy());
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answerHeaders(answer));
  await pipeline(answer, response);
}

/** Passes the bytes of a switched protocol on in both directions, until either side ends it. */
export async function switchProtocols({ answer, head }: Answered, stream: Duplex, client: Client): Promise<void> {
  const { socket, first } = client;
  const lines = [`HTTP/1.1 101 Switching Protocols`, 'Connection: Upgrade', 'Upgrade: websocket'];
  for (const [name, value] of Object.entries(answerHeaders(answer))) {
    for (const one of [value].flat()) lines.push(`${name}: ${String(one)}`);
  }
  socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  if (head !== undefined && head.length > 0) socket.write(head);
  if (first.length > 0) stream.write(first);
  await join(socket, stream);
}

/** Client that asked to switch protocols, and the bytes that it sent after its request. */
export interface Client {
  readonly socket: Duplex;
  readonly first: Buffer;
}
