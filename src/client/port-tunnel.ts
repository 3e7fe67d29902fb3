import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
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

/**
 * Connects to a port of an instance through the socket of the engine of this machine. Faults: those of the engine, and
 * ENGINE_UNAVAILABLE when none is running, which has no instance either.
 */
export async function openTunnel(
  socket: string,
  { instance, port, headers }: TunnelTarget,
  signal: AbortSignal,
): Promise<Duplex> {
  checkOwner(socket);
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const sent = httpRequest({
    // Each side may end on its own.
    createConnection: () => connect({ path: socket, allowHalfOpen: true }),
    path: PORT_TUNNEL.pathOf(instance, port),
    headers: { ...headers, Connection: 'Upgrade', Upgrade: PORT_TUNNEL.protocol },
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

async function refused(answer: IncomingMessage, operation: string): Promise<Error> {
  return faultFromAnswer(answer.statusCode ?? 0, await text(answer), { kind: 'operation', operation });
}

function unavailable(error: Error): Error {
  return fault('ENGINE_UNAVAILABLE', { reason: error.message }, { cause: error });
}
