import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** Answers one request with raw bytes. */
export type RawAnswer = (socket: Socket, head: string) => void;

/** A server on 127.0.0.1 that answers each request as scripted, byte by byte: `answers` in turn, the last one for good. */
export class RawServer implements AsyncDisposable {
  readonly host: string;
  /** Heads of the requests, in order. */
  readonly heads: string[] = [];
  readonly #server: ReturnType<typeof createServer>;
  readonly #sockets = new Set<Socket>();

  private constructor(server: ReturnType<typeof createServer>, answers: readonly RawAnswer[]) {
    this.#server = server;
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
      socket.on('data', (bytes) => {
        const head = bytes.toString('latin1');
        const answer = answers[Math.min(this.heads.length, answers.length - 1)];
        this.heads.push(head);
        answer?.(socket, head);
      });
    });
  }

  static async start(...answers: readonly RawAnswer[]): Promise<RawServer> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new RawServer(server, answers);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
