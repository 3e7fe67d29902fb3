import { STATUS_CODES, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { fault, type ContreeError } from '../../contract/errors.ts';
import { PORT_TUNNEL } from '../../contract/instance.ts';
import { DEFAULT_PROJECT, isProject } from '../../contract/names.ts';
import { join } from '../../std/streams.ts';
import { ANYONE, bearerOf, ON_BEHALF, OWNER, type Principal } from '../auth.ts';
import { faultReply, toFault } from '../fault-reply.ts';
import type { Log } from '../log.ts';
import type { ConnectToPage } from './instance-pages.ts';
import type { PageTarget } from './page-host.ts';

export interface TunnelOptions {
  readonly connect: ConnectToPage;
  /** Returns for whom a connection is made. Faults: TOKEN_INVALID. */
  readonly admit: (headers: IncomingHttpHeaders) => Promise<Principal>;
  readonly log: Log;
  /** Aborts when the server closes. */
  readonly closing: AbortSignal;
}

/**
 * Connections to ports of instances for another server, which has pages of its own: a request that switches to the bytes
 * of the port. It comes on the owner's socket, or from another node of the cluster.
 */
export class PortTunnel {
  readonly #options: TunnelOptions;
  readonly #open = new Set<Duplex>();

  constructor(options: TunnelOptions) {
    this.#options = options;
    options.closing.addEventListener('abort', () => this.#cut(), { once: true });
  }

  /** Returns the port that a request is for; undefined for any other request. */
  find({ url = '' }: IncomingMessage): PageTarget | undefined {
    const { instance, port } = PORT_TUNNEL.path.exec(url)?.groups ?? {};
    return instance === undefined ? undefined : { instance, port: Number(port) };
  }

  /** Refuses a request that does not ask to switch protocols. Never rejects. */
  async answer(_target: PageTarget, _request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reason = `ask for "Upgrade: ${PORT_TUNNEL.protocol}"`;
    const { status, headers, body } = refusal(fault('ARGUMENT_INVALID', { reason }));
    response.writeHead(status, headers).end(body);
  }

  /** Connects a client to a port. Never rejects. */
  async upgrade(target: PageTarget, request: IncomingMessage, socket: Duplex, first: Buffer): Promise<void> {
    const gone = new AbortController();
    socket.on('error', () => undefined);
    this.#open.add(socket);
    socket.once('close', () => {
      this.#open.delete(socket);
      gone.abort(new Error('the client has left'));
    });
    try {
      const stream = await this.#options.connect(await this.#admit(request), target, gone.signal);
      const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', `Upgrade: ${PORT_TUNNEL.protocol}`];
      socket.write(`${lines.join('\r\n')}\r\n\r\n`);
      if (first.length > 0) stream.write(first);
      await join(socket, stream);
    } catch (error) {
      const fields = { method: request.method ?? '', path: request.url ?? '' };
      socket.end(messageOf(toFault(error, this.#options.log, fields)));
    }
  }

  /** Returns for whom a connection is made. Faults: ARGUMENT_INVALID, TOKEN_INVALID, ENGINE_UNAVAILABLE. */
  async #admit({ headers }: IncomingMessage): Promise<Principal> {
    if (this.#options.closing.aborted) throw fault('ENGINE_UNAVAILABLE', { reason: 'it is stopping' });
    if (headers.upgrade?.toLowerCase() !== PORT_TUNNEL.protocol) {
      throw fault('ARGUMENT_INVALID', { reason: `the protocol is ${PORT_TUNNEL.protocol}` });
    }
    return await this.#options.admit(headers);
  }

  #cut(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

/**
 * Returns who may connect on the owner's socket: the client whose token `ON_BEHALF` names, or the owner. `principalOf`
 * returns the principal of a token's UUID; undefined when it is not valid any more.
 */
export function admitOwner(principalOf: (token: string) => Promise<Principal | undefined>): TunnelOptions['admit'] {
  return async (headers) => {
    const client = headers[ON_BEHALF];
    if (client === undefined) return OWNER;
    if (client === 'anyone') return ANYONE;
    const principal = await principalOf(String(client));
    if (principal === undefined) throw fault('TOKEN_INVALID', {});
    return principal;
  };
}

/** Returns who may connect on a listener that all can reach: other nodes, for the project that they name. */
export function admitPeers(peerOf: (token: string) => Principal | undefined): TunnelOptions['admit'] {
  return async ({ authorization, project: named = DEFAULT_PROJECT }) => {
    const peer = peerOf(bearerOf(authorization) ?? '');
    if (peer === undefined) throw fault('TOKEN_INVALID', {});
    const project = String(named);
    if (!isProject(project)) throw fault('PROJECT_INVALID', { project: project.slice(0, 100) });
    return { ...peer, project };
  };
}

interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

function refusal(error: ContreeError): Refusal {
  const { status, headers = {}, body } = faultReply(error);
  const bytes = body instanceof Uint8Array ? Buffer.from(body) : Buffer.alloc(0);
  const own = { Connection: 'close', 'Content-Length': String(bytes.byteLength) };
  return { status, headers: { ...headers, ...own }, body: bytes };
}

function messageOf(error: ContreeError): Buffer {
  const { status, headers, body } = refusal(error);
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${fields.join('')}\r\n`),
    body,
  ]);
}
