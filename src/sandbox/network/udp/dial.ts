import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';

/** Answers from the far end of a flow. */
export interface Heard {
  readonly datagram: (payload: Buffer) => void;
  /** The host's kernel reports an error (`ECONNREFUSED`); `final` when nothing can be sent any more. */
  readonly failed: (code: string, final: boolean) => void;
}

/** The host's end of one flow; disposing it closes its socket. */
export interface FarPort extends Disposable {
  /** Sends one datagram, or drops it if the socket accepts no more. */
  send(payload: Buffer): void;
}

/** Opens a flow from a port of the kernel's choosing to one address and port. */
export type DialUdp = (host: string, port: number, heard: Heard) => FarPort;

/** Datagrams that wait while the socket is being connected: one turn of the event loop. */
const EARLY_MAX = 16;

/** A connected datagram socket: the kernel picks its port, and drops what does not come from the other end. */
export const dialUdp: DialUdp = (host, port, heard) => new HostPort(host, port, heard);

class HostPort implements FarPort {
  readonly #socket: Socket;
  readonly #heard: Heard;
  /** Undefined once connected. */
  #early: Buffer[] | undefined = [];
  #closed = false;

  constructor(host: string, port: number, heard: Heard) {
    this.#heard = heard;
    this.#socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    this.#socket.on('message', (payload) => heard.datagram(payload));
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('connect', () => {
      const early = this.#early ?? [];
      this.#early = undefined;
      for (const payload of early) this.send(payload);
    });
    this.#socket.connect(port, host);
  }

  send(payload: Buffer): void {
    if (this.#closed) return;
    if (this.#early !== undefined) {
      // A copy, so that a small datagram does not keep the chunk that it came in.
      if (this.#early.length < EARLY_MAX) this.#early.push(Buffer.from(payload));
      return;
    }
    // The kernel's buffer is full: dropped, as on any full link.
    if (this.#socket.getSendQueueCount() > 0) return;
    this.#socket.send(payload, this.#sent);
  }

  readonly #sent = (error: Error | null): void => {
    if (error !== null) this.#fail(error);
  };

  #fail(error: NodeJS.ErrnoException): void {
    if (this.#closed) return;
    const final = this.#early !== undefined;
    if (final) this[Symbol.dispose]();
    this.#heard.failed(error.code ?? '', final);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }
}
