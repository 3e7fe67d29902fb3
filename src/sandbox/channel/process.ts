import { fault } from '../../contract/errors.ts';
import type { Command, GuestUser, Outcome, OutputChunk, Process } from '../driver.ts';
import { OUTPUT_WINDOW_BYTES, STDIN_WINDOW_BYTES } from './credit.ts';
import { FieldWriter } from './field.ts';
import { type NumberedMessage, TO_GUEST } from './message.ts';
import { Outbound } from './outbound.ts';
import { InboundStream } from './stream.ts';

/** Sends one frame about this process. Never throws: a dead channel ends every process anyway. */
export type SendFrame = (kind: number, payload: Uint8Array) => void;

const EMPTY = Buffer.alloc(0);

/**
 * The host's half of a process: starting → running → exited and output ended, where the last two come in any order.
 * `handle` checks every message against that order, because the guest may lie.
 */
export class ChannelProcess implements Process {
  readonly output: InboundStream<OutputChunk>;
  readonly outcome: Promise<Outcome>;
  readonly started: Promise<this>;
  #pid = 0;
  readonly #account: Command['account'];
  #identity: GuestUser | undefined;
  readonly #send: SendFrame;
  readonly #started = Promise.withResolvers<this>();
  readonly #outcome = Promise.withResolvers<Outcome>();
  #state: 'starting' | 'running' | 'refused' = 'starting';
  #exited = false;
  #outputEnded = false;
  readonly #stdin: Outbound;
  #stdinQueue: Promise<void> = Promise.resolve();

  constructor({ account }: Pick<Command, 'account'>, send: SendFrame) {
    this.#account = account;
    this.#send = send;
    this.#stdin = new Outbound(STDIN_WINDOW_BYTES, (piece) => send(TO_GUEST.stdin, piece));
    this.started = this.#started.promise;
    this.outcome = this.#outcome.promise;
    // Callers that need them await them; a guest that is lost earlier must not crash the engine.
    this.started.catch(() => undefined);
    this.outcome.catch(() => undefined);
    this.output = new InboundStream(OUTPUT_WINDOW_BYTES, (bytes) => {
      send(TO_GUEST.credit, new FieldWriter().u32(bytes).payload());
    });
  }

  get pid(): number {
    return this.#pid;
  }

  get identity(): GuestUser | undefined {
    return this.#identity;
  }

  /** True when no more messages about this process may come. */
  get finished(): boolean {
    return this.#state === 'refused' || (this.#exited && this.#outputEnded);
  }

  /** Throws GUEST_PROTOCOL for a message out of turn. */
  handle(message: NumberedMessage): void {
    const isFirst = message.kind === 'started' || message.kind === 'user';
    if (isFirst !== (this.#state === 'starting')) throw outOfTurn(message.kind);
    switch (message.kind) {
      case 'user':
        this.#takeUser(message);
        break;
      case 'started':
        // Of an account the guest says who it is before anything runs; not so when it can start nothing at all.
        this.#state = 'running';
        this.#pid = message.pid;
        this.#started.resolve(this);
        break;
      case 'output':
        this.#takeOutput(message);
        break;
      case 'outputEnd':
        if (this.#outputEnded) throw outOfTurn(message.kind);
        this.#outputEnded = true;
        this.output.end();
        break;
      case 'exited':
        if (this.#exited) throw outOfTurn(message.kind);
        this.#exited = true;
        this.#outcome.resolve(message.outcome);
        this.#stdin.end();
        break;
      case 'stdinCredit':
        if (!this.#stdin.credit(message.bytes)) throw outOfTurn(message.kind);
        break;
      default:
        throw outOfTurn(message.kind);
    }
  }

  #takeUser({ unknown, identity }: NumberedMessage & { readonly kind: 'user' }): void {
    if (this.#account === undefined || this.#identity !== undefined) throw outOfTurn('user');
    this.#identity = identity;
    if (unknown === undefined) return;
    this.#state = 'refused';
    this.fail(fault('USER_UNKNOWN', { what: unknown, user: this.#account.user }));
  }

  #takeOutput({ stream, bytes }: { readonly stream: OutputChunk['stream']; readonly bytes: Buffer }): void {
    if (this.#outputEnded) throw outOfTurn('output');
    if (!this.output.push({ stream, bytes }, bytes)) {
      throw fault('GUEST_PROTOCOL', { reason: 'more output than it had credit for' });
    }
  }

  /** The channel is gone. */
  fail(error: Error): void {
    this.#started.reject(error);
    this.#outcome.reject(error);
    this.output.end(error);
    this.#stdin.end(error);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const write = this.#stdinQueue.then(() => this.#writeNow(bytes));
    this.#stdinQueue = write.catch(() => undefined);
    await write;
  }

  async #writeNow(bytes: Uint8Array): Promise<void> {
    await this.#stdin.send(bytes);
    await this.#stdin.taken();
  }

  async closeStdin(): Promise<void> {
    await this.#stdinQueue;
    if (!this.#exited) this.#send(TO_GUEST.stdinClose, EMPTY);
  }

  async kill(signal: number): Promise<void> {
    if (!this.#exited) this.#send(TO_GUEST.kill, new FieldWriter().u8(signal).payload());
  }

  async resize(columns: number, rows: number): Promise<void> {
    if (!this.#exited) this.#send(TO_GUEST.resize, new FieldWriter().u16(columns).u16(rows).payload());
  }
}

/** Returns the fault of a message that may not come in the present state. */
export function outOfTurn(kind: string): Error {
  return fault('GUEST_PROTOCOL', { reason: `"${kind}" out of turn` });
}
