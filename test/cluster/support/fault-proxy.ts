import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Fault of one request: what happens to it instead of what should. One of these. */
export interface Fault {
  /** Status with which the proxy itself answers. */
  readonly status?: number;
  /** The connection ends before it is forwarded, after so many bytes of the answer, or after all of it happened unanswered. */
  readonly cut?: 'before' | 'after' | number;
  /** True when nothing happens until the client gives up. */
  readonly hang?: boolean;
  /** A byte of its body, or of that of its answer, is another. */
  readonly flip?: 'request' | 'answer';
  /** So many bytes of the answer's body are sent, as if that were all. */
  readonly bytes?: number;
  /** Size of the pieces in which the answer comes. */
  readonly pieces?: number;
}

/** Request as the proxy sees it. */
export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly range: string | undefined;
}

/** Proxy between a client and an HTTP server on the same host, which does to requests what a test says. */
export class FaultProxy implements AsyncDisposable {
  readonly asked: Asked[] = [];
  /** Returns the fault of a request; undefined for none. */
  fault: (asked: Asked) => Fault | undefined = () => undefined;
  readonly #server: Server;
  readonly #target: number;
  readonly #address: string;

  private constructor(target: number, address: string) {
    this.#target = target;
    this.#address = address;
    this.#server = createServer(
      (incoming, outgoing) => void this.#handle(incoming, outgoing).catch(() => outgoing.destroy()),
    );
  }

  /** Opens one before a server with that port, on the same address. */
  static async open(target: number, address = '127.0.0.1'): Promise<FaultProxy> {
    const proxy = new FaultProxy(target, address);
    proxy.#server.listen(0, address);
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Does this to the next requests that fit, one fault each, and then nothing any more. */
  next(fits: (asked: Asked) => boolean, ...faults: readonly Fault[]): void {
    const left = [...faults];
    this.fault = (asked) => (fits(asked) ? left.shift() : undefined);
  }

  /** Returns the requests since the last time. */
  take(): Asked[] {
    return this.asked.splice(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const asked = { method: incoming.method ?? '', url: incoming.url ?? '', range: incoming.headers.range };
    this.asked.push(asked);
    const { status, cut, hang, flip, bytes, pieces }: Fault = this.fault(asked) ?? {};
    if (hang === true) return;
    if (cut === 'before') return void outgoing.destroy();
    const body = Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Buffer>));
    if (status !== undefined) return void outgoing.writeHead(status).end();
    if (flip === 'request') flipByte(body);
    const { answer, content } = await this.#forward(incoming, body);
    if (cut === 'after') return void outgoing.destroy();
    if (flip === 'answer') flipByte(content);
    const sent = content.subarray(0, bytes);
    const headers = { ...answer.headers };
    if (incoming.method !== 'HEAD') headers['content-length'] = `${sent.length}`;
    outgoing.writeHead(answer.statusCode ?? 502, headers);
    if (typeof cut === 'number') return void outgoing.write(sent.subarray(0, cut), () => outgoing.destroy());
    for (let at = 0; at < sent.length; at += pieces ?? sent.length) {
      outgoing.write(sent.subarray(at, at + (pieces ?? sent.length)));
      await new Promise(setImmediate);
    }
    outgoing.end();
  }

  async #forward(incoming: IncomingMessage, body: Buffer): Promise<{ answer: IncomingMessage; content: Buffer }> {
    const { method, url, headers } = incoming;
    const forwarded = request({ port: this.#target, host: this.#address, method, path: url, headers, agent: false });
    forwarded.end(body);
    const [answer] = (await once(forwarded, 'response')) as [IncomingMessage];
    return { answer, content: Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>)) };
  }
}

/** Changes a byte in the middle. */
function flipByte(bytes: Buffer): void {
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
}
