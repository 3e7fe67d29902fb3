import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { join } from '../../std/streams.ts';

/** Port of the host at which a port of an instance is reached. */
export interface PublishedPort {
  readonly port: number;
  readonly hostPort: number;
}

/** Parts of an instance that its ports need. */
export interface PortsOwner {
  /** Connects to a port of the guest. */
  readonly connect: (port: number, signal: AbortSignal) => Promise<Duplex>;
  /** Counts as use of the instance until it is disposed. */
  readonly use: () => Disposable;
  /** Counts as one more published port until it is disposed. Faults: PORT_LIMIT. */
  readonly take: () => Disposable;
  /** Address at which the host listens for published ports. */
  readonly address: string;
}

interface Listening extends PublishedPort {
  readonly server: Server;
  readonly sockets: Set<Socket>;
  /** Its place among the published ports of the project. */
  readonly place: Disposable;
}

/**
 * Ports of one open instance: those that are published at ports of the host, and connections to any. Ends all of them when
 * it is disposed.
 */
export class InstancePorts implements AsyncDisposable {
  readonly #owner: PortsOwner;
  readonly #published = new Map<number, Listening>();
  readonly #ended = new AbortController();
  /** Serializes changes, so that a port is never published twice. */
  #changing: Promise<unknown> = Promise.resolve();

  constructor(owner: PortsOwner) {
    this.#owner = owner;
  }

  /** Published ports, lowest first. */
  get published(): readonly PublishedPort[] {
    const all = [...this.#published.values()].map(({ port, hostPort }) => ({ port, hostPort }));
    return all.toSorted((one, other) => one.port - other.port);
  }

  /**
   * Listens for connections to a port of the guest, at a port of the host or, with 0, at any that is free. A port that is
   * published already stays where it is. Faults: PORT_TAKEN, PORT_LIMIT.
   */
  async publish(port: number, hostPort: number): Promise<PublishedPort> {
    return this.#inTurn(async () => {
      const existing = this.#published.get(port);
      if (existing !== undefined) {
        if (hostPort !== 0 && hostPort !== existing.hostPort)
          throw taken(hostPort, `port ${port} is published at ${existing.hostPort} already`);
        return { port, hostPort: existing.hostPort };
      }
      if (this.#published.size >= limits.portsPublishedMax)
        throw fault('PORT_LIMIT', { what: 'instance', limit: limits.portsPublishedMax });
      this.#ended.signal.throwIfAborted();
      const place = this.#owner.take();
      const sockets = new Set<Socket>();
      const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        sockets.add(socket);
        socket.once('close', () => sockets.delete(socket));
        void this.#relay(port, socket);
      });
      server.maxConnections = limits.portConnectionsMax;
      try {
        const at = await listening(server, this.#owner.address, hostPort);
        this.#published.set(port, { port, hostPort: at, server, sockets, place });
        return { port, hostPort: at };
      } catch (error) {
        place[Symbol.dispose]();
        throw error;
      }
    });
  }

  /** Stops listening and ends the connections that came in there. Returns false when the port is not published. */
  async unpublish(port: number): Promise<boolean> {
    return this.#inTurn(async () => {
      const found = this.#published.get(port);
      if (found === undefined) return false;
      this.#published.delete(port);
      await closed(found);
      return true;
    });
  }

  /** Connects to a port of the guest, published or not. The connection counts as use. Faults: those of `Instance.connect`. */
  async connect(port: number, signal: AbortSignal): Promise<Duplex> {
    const used = this.#owner.use();
    try {
      const stream = await this.#owner.connect(port, AbortSignal.any([signal, this.#ended.signal]));
      stream.once('close', () => used[Symbol.dispose]());
      return stream;
    } catch (error) {
      used[Symbol.dispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort(fault('PORT_UNREACHABLE', { port: 0, reason: 'the instance has ended' }));
    await this.#inTurn(async () => {
      const all = [...this.#published.values()];
      this.#published.clear();
      await Promise.all(all.map(closed));
    });
  }

  async #relay(port: number, socket: Socket): Promise<void> {
    // Until the guest has answered.
    socket.on('error', () => undefined);
    try {
      const gone = new AbortController();
      socket.once('close', () => gone.abort(new Error('the client has left')));
      const stream = await this.connect(port, gone.signal);
      await join(socket, stream, () => socket.resetAndDestroy());
    } catch {
      // A reset tells the client that nothing listens.
      socket.resetAndDestroy();
    }
  }

  async #inTurn<Value>(change: () => Promise<Value>): Promise<Value> {
    const turn = this.#changing.then(change);
    this.#changing = turn.catch(() => undefined);
    return turn;
  }
}

async function listening(server: Server, address: string, hostPort: number): Promise<number> {
  const ready = once(server, 'listening');
  server.listen(hostPort, address);
  try {
    await ready;
  } catch (error) {
    throw taken(hostPort, reasonOf(error as NodeJS.ErrnoException, address));
  }
  return (server.address() as AddressInfo).port;
}

function reasonOf({ code, message }: NodeJS.ErrnoException, address: string): string {
  if (code === 'EADDRINUSE') return 'something listens there already';
  if (code === 'EACCES') return 'the engine has no permission to use it';
  if (code === 'EADDRNOTAVAIL') return `the host has no address ${address} (setting publish-listen)`;
  return message;
}

function taken(hostPort: number, reason: string): Error {
  return fault('PORT_TAKEN', { hostPort, reason });
}

async function closed({ server, sockets, place }: Listening): Promise<void> {
  place[Symbol.dispose]();
  const end = once(server, 'close');
  server.close();
  for (const socket of sockets) socket.resetAndDestroy();
  await end;
}
