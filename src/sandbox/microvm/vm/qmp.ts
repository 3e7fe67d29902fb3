import type { Duplex } from 'node:stream';
import { fault } from '../../../contract/errors.ts';

/** Longest line that QEMU answers with; a longer one is not an answer to the engine's commands. */
const LINE_BYTES_MAX = 1024 * 1024;

export interface WriteFailure {
  /** The host's disk is full. */
  readonly noSpace: boolean;
  /** Message of the host's C library. */
  readonly reason: string;
}

interface Answer {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The host's end of a QEMU monitor (QEMU's docs/interop/qmp-spec.txt). Commands may be sent before QEMU has started:
 * they wait in the socket and are answered in order.
 */
export class Qmp {
  /** Resolves when QEMU is gone: its descriptors are closed. Never rejects. */
  readonly closed: Promise<void>;
  /** Reason for which the guest stopped, in QEMU's word (`guest-shutdown`, `guest-reset`, `host-error`), once it is known. */
  shutdownReason: string | undefined;
  /** Resolves when the host failed to write data of the guest; the machine is stopped then. */
  readonly writeFailed: Promise<WriteFailure>;
  readonly #writeFailed = Promise.withResolvers<WriteFailure>();
  readonly #stream: Duplex;
  #answers: Answer[] = [];
  #rest = '';

  constructor(stream: Duplex) {
    this.#stream = stream;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.writeFailed = this.#writeFailed.promise;
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#receive(text));
    stream.on('error', () => {});
    stream.once('end', () => stream.destroy());
    stream.once('close', () => {
      resolve();
      this.#end();
    });
    // QEMU answers nothing else before this.
    this.execute('qmp_capabilities').catch(() => {});
  }

  /** Rejects with GUEST_LOST when QEMU refuses the command or goes away. */
  async execute(command: string, options?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (this.#stream.destroyed) throw gone();
    this.#answers.push({ resolve, reject });
    this.#stream.write(`${JSON.stringify({ execute: command, arguments: options })}\n`);
    return promise;
  }

  #receive(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > LINE_BYTES_MAX) this.#stream.destroy();
    for (const line of lines) this.#handle(line);
  }

  #handle(line: string): void {
    let message: Record<string, unknown>;
    try {
      message = JSON.parse(line) as Record<string, unknown>;
    } catch {
      this.#stream.destroy();
      return;
    }
    if (typeof message['event'] === 'string') this.#tell(message['event'], fieldsOf(message['data']));
    else if ('return' in message) this.#answers.shift()?.resolve(message['return']);
    else if ('error' in message) this.#answers.shift()?.reject(refusal(message['error']));
  }

  #tell(event: string, data: Fields): void {
    if (event === 'SHUTDOWN') this.shutdownReason = String(data['reason']);
    if (event !== 'BLOCK_IO_ERROR' || data['operation'] !== 'write') return;
    this.#writeFailed.resolve({ noSpace: data['nospace'] === true, reason: String(data['reason']) });
  }

  #end(): void {
    for (const { reject } of this.#answers.splice(0)) reject(gone());
  }
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function refusal(error: unknown): Error {
  return fault('GUEST_LOST', { reason: `QEMU refuses: ${String(fieldsOf(error)['desc'])}` });
}

function gone(): Error {
  return fault('GUEST_LOST', { reason: 'QEMU is gone' });
}
