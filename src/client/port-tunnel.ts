import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { fault } from '../contract/errors.ts';
import { PORT_TUNNEL } from '../contract/instance.ts';
import { faultFromAnswer } from './faults.ts';
import { checkOwner } from './local/socket-owner.ts';

/** Port of an instance, and for whom the connection is made. */
export interface TunnelTarget {
  readonly instance: string;
  readonly port: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Server that has the instance: the engine of this machine, behind its Unix socket, or another node, at its URL. */
export type TunnelServer = { readonly socket: string } | { readonly url: string };

/** Time without data after which a connection to another host is tested, so that one to a host that is gone ends. */
const KEEP_ALIVE_MS = 10_000;

/**
 * Connects to a port of an instance through the server that has it. Faults: those of the server, and ENGINE_UNAVAILABLE
 * when it cannot be reached. Once connected, `signal` still ends the connection.
 */
export async function openTunnel(
  server: TunnelServer,
  { instance, port, headers }: TunnelTarget,
  signal: AbortSignal,
): Promise<Duplex> {
  if ('socket' in server) checkOwner(server.socket);
  const prefix = 'url' in server ? new URL(server.url).pathname.replace(/\/$/u, '') : '';
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const sent = httpRequest({
    createConnection: () => connection(server),
    path: `${prefix}${PORT_TUNNEL.pathOf(instance, port)}`,
    headers: {
      ...('url' in server && { Host: new URL(server.url).host }),
      ...headers,
      Connection: 'Upgrade',
      Upgrade: PORT_TUNNEL.protocol,
    },
    signal,
  });
  sent.once('upgrade', (_answer, stream, first) => {
    if (first.length > 0) stream.unshift(first);
    resolve(stream);
  });
  sent.once('response', (answer) => void refused(answer, instance).then(reject, reject));
  sent.once('error', (error) => reject(signal.aborted ? signal.reason : unavailable(error)));
  sent.end();
  return promise;
}

/** Returns a connection of which each side may end on its own. */
function connection(server: TunnelServer): Socket {
  if ('socket' in server) return connect({ path: server.socket, allowHalfOpen: true });
  const { protocol, hostname, port } = new URL(server.url);
  const host = hostname.replace(/^\[|\]$/gu, '');
  const secure = protocol === 'https:';
  const usual = secure ? 443 : 80;
  const place = { host, port: port === '' ? usual : Number(port), allowHalfOpen: true };
  const socket = secure ? connectTls({ ...place, ...(isIP(host) === 0 && { servername: host }) }) : connect(place);
  return socket.setKeepAlive(true, KEEP_ALIVE_MS);
}

async function refused(answer: IncomingMessage, operation: string): Promise<Error> {
  return faultFromAnswer(answer.statusCode ?? 0, await text(answer), { kind: 'operation', operation });
}

function unavailable(error: Error): Error {
  return fault('ENGINE_UNAVAILABLE', { reason: error.message }, { cause: error });
}
