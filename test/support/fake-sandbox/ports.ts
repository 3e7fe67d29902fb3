import { type Duplex, duplexPair } from 'node:stream';
import { fault } from '../../../src/contract/errors.ts';

/** Takes over the guest's end of a connection. */
export type Serve = (stream: Duplex) => void;

/** TCP ports of a fake guest, and the connections to them. */
export class FakePorts {
  readonly #servers: Map<number, Serve>;
  readonly #streams = new Set<Duplex>();

  /** `servers` listen from the start, by port. */
  constructor(servers: ReadonlyMap<number, Serve> = new Map()) {
    this.#servers = new Map(servers);
  }

  /** Listens until the signal. */
  listen(port: number, serve: Serve, signal: AbortSignal): void {
    this.#servers.set(port, serve);
    signal.addEventListener('abort', () => this.#servers.delete(port), { once: true });
  }

  connect(port: number): Duplex {
    const serve = this.#servers.get(port);
    if (serve === undefined) throw fault('PORT_UNREACHABLE', { port, reason: 'nothing listens on it' });
    const [outside, inside] = duplexPair();
    const reset = fault('PORT_UNREACHABLE', { port, reason: 'the connection was reset' });
    for (const [stream, other] of [
      [outside, inside],
      [inside, outside],
    ] as const) {
      this.#streams.add(stream);
      stream.on('error', () => undefined);
      stream.once('close', () => {
        this.#streams.delete(stream);
        if (!stream.readableEnded || !stream.writableFinished) other.destroy(reset);
      });
    }
    serve(inside);
    return outside;
  }

  /** Ends all connections with the guest. */
  close(reason: Error): void {
    this.#servers.clear();
    for (const stream of this.#streams) stream.destroy(reason);
  }
}
