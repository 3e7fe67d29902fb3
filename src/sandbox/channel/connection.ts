import { Duplex } from 'node:stream';
import { fault } from '../../contract/errors.ts';
import { CONNECTION_IN_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, Credit, frameCost } from './credit.ts';
import { FieldWriter } from './field.ts';
import { type NumberedMessage, TO_GUEST } from './message.ts';
import { Outbound } from './outbound.ts';
import { outOfTurn, type SendFrame } from './process.ts';

const EMPTY = Buffer.alloc(0);
/** Any signal resets a connection. */
const RESET = new FieldWriter().u8(9).payload();
const REASONS = {
  refused: 'nothing listens on it',
  reset: 'the connection was reset',
  ended: 'the connection has ended',
} as const;

/**
 * The host's half of a TCP connection that the guest agent makes in the guest: connecting → open → over. Each direction ends
 * on its own. Destroying it early resets the connection. `handle` checks every message against the order, because the guest
 * may lie.
 */
export class ChannelConnection extends Duplex {
  /** Resolves when the connection is made; rejects with PORT_UNREACHABLE. */
  readonly connected: Promise<this>;
  readonly #port: number;
  readonly #send: SendFrame;
  readonly #connected = Promise.withResolvers<this>();
  readonly #credit = new Credit(CONNECTION_WINDOW_BYTES);
  readonly #outbound: Outbound;
  #state: 'connecting' | 'open' | 'over' = 'connecting';
  #queue: Buffer[] = [];
  /** True while the reader waits for more. */
  #wanted = false;
  #outputEnded = false;
  #inputEnded = false;
  /** Raised once the queue is read. */
  #reset: Error | undefined;

  constructor(port: number, send: SendFrame) {
    // The queue is here: `_read` asks for the next piece when the one before is taken, and only then is its credit returned.
    super({ readableHighWaterMark: 1, writableHighWaterMark: CONNECTION_IN_WINDOW_BYTES });
    this.#port = port;
    this.#send = send;
    this.#outbound = new Outbound(CONNECTION_IN_WINDOW_BYTES, (piece) => send(TO_GUEST.stdin, piece));
    this.connected = this.#connected.promise;
    this.connected.catch(() => undefined);
    // The reader learns of errors from the stream itself, if there is a reader at that moment.
    this.on('error', () => undefined);
  }

  /** True when no more messages about this connection may come. */
  get finished(): boolean {
    return this.#state === 'over';
  }

  /** Throws GUEST_PROTOCOL for a message out of turn. */
  handle(message: NumberedMessage): void {
    if (message.kind === 'disconnected') {
      this.#disconnect(message.reason);
      return;
    }
    if ((message.kind === 'connected') !== (this.#state === 'connecting')) throw outOfTurn(message.kind);
    switch (message.kind) {
      case 'connected':
        this.#state = 'open';
        this.#connected.resolve(this);
        break;
      case 'output':
        if (this.#outputEnded || message.stream !== 'stdout') throw outOfTurn(message.kind);
        this.#take(message.bytes);
        break;
      case 'outputEnd':
        if (this.#outputEnded) throw outOfTurn(message.kind);
        this.#outputEnded = true;
        this.#pump();
        break;
      case 'stdinCredit':
        if (!this.#outbound.credit(message.bytes)) throw outOfTurn(message.kind);
        break;
      default:
        throw outOfTurn(message.kind);
    }
  }

  /** Ends it with the channel. */
  fail(error: Error): void {
    this.#state = 'over';
    this.#connected.reject(error);
    this.#outbound.end(error);
    this.destroy(error);
  }

  override _read(): void {
    this.#wanted = true;
    this.#pump();
  }

  override _write(bytes: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    void this.#write(bytes, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#inputEnded = true;
    if (this.#state !== 'over') this.#send(TO_GUEST.stdinClose, EMPTY);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const ended = this.#outputEnded && this.#inputEnded;
    if (this.#state !== 'over' && !ended) this.#send(TO_GUEST.kill, RESET);
    this.#queue = [];
    this.#outbound.end(this.#broken('ended'));
    done(error);
  }

  async #write(bytes: Buffer, done: (error?: Error | null) => void): Promise<void> {
    let failure: Error | null = null;
    try {
      await this.#outbound.send(bytes);
    } catch (error) {
      failure = error as Error;
    }
    done(failure);
  }

  #take(bytes: Buffer): void {
    if (!this.#credit.charge(frameCost(bytes))) {
      throw fault('GUEST_PROTOCOL', { reason: 'more bytes of a connection than it had credit for' });
    }
    if (this.destroyed) return;
    this.#queue.push(bytes);
    this.#pump();
  }

  /** Passes what has arrived to a reader that takes it, and returns the credit of it. */
  #pump(): void {
    while (this.#wanted) {
      const bytes = this.#queue.shift();
      if (bytes === undefined) break;
      const given = this.#credit.consume(frameCost(bytes));
      if (given > 0 && this.#state === 'open' && !this.#outputEnded) {
        this.#send(TO_GUEST.credit, new FieldWriter().u32(given).payload());
      }
      this.#wanted = this.push(bytes);
    }
    if (!this.#wanted || this.#queue.length > 0) return;
    if (this.#outputEnded) this.push(null);
    // The reader is about to get the last piece.
    else if (this.#reset !== undefined) process.nextTick(() => this.destroy(this.#reset));
  }

  #disconnect(reason: keyof typeof REASONS): void {
    const wrong = (reason === 'refused' && this.#state !== 'connecting') || (reason === 'ended' && !this.#outputEnded);
    if (wrong) throw outOfTurn('disconnected');
    this.#state = 'over';
    const error = this.#broken(reason);
    this.#connected.reject(error);
    this.#outbound.end(error);
    if (reason === 'ended') return;
    this.#reset = error;
    if (this.#outputEnded) this.destroy(error);
    else this.#pump();
  }

  #broken(reason: keyof typeof REASONS): Error {
    return fault('PORT_UNREACHABLE', { port: this.#port, reason: REASONS[reason] });
  }
}
