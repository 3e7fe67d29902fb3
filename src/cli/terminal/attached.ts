import type { ConTree } from '../../contract/contree.ts';
import { isFault } from '../../contract/errors.ts';
import type { OperationEvent } from '../../contract/event.ts';
import { SPID_MAIN } from '../../contract/operation-state.ts';
import { streamBytes } from '../../contract/stream.ts';
import type { TerminalSize } from '../../contract/run.ts';
import type { Cli } from '../cli.ts';
import type { TerminalOutput } from '../host.ts';
import { forwardInput, sharedInput, type GuestInput } from './guest-input.ts';
import type { Interrupts } from './interrupts.ts';
import { exitCodeOf } from './outcome.ts';

export interface AttachResult {
  /** Undefined when the command did not run to completion. */
  readonly exitCode: number | undefined;
  readonly image: string | null;
}

export interface AttachOptions {
  readonly input: GuestInput;
  readonly tty: boolean;
  readonly interrupts: Interrupts;
  /** Number of the process; default: the main one, whose end is that of the operation. */
  readonly spid?: number;
}

/** Returns the size of our terminal; a terminal that does not know its size reports zero. */
export function terminalSize({ columns, rows }: TerminalOutput): TerminalSize {
  return columns && rows ? { columns, rows } : { columns: 80, rows: 24 };
}

/** Connection of our terminal or pipes to a process of an operation, for as long as it runs. */
export class Attached implements AsyncDisposable {
  readonly #cli: Cli;
  readonly #contree: ConTree;
  readonly #operation: string;
  readonly #spid: number;
  /** True of the process whose end is that of the operation. */
  readonly #isMain: boolean;
  readonly #stop = new AbortController();
  readonly #cleanup = new AsyncDisposableStack();
  /** Positions in the streams up to which they were shown. */
  readonly #shown = { stdout: 0, stderr: 0 };

  constructor(cli: Cli, contree: ConTree, operation: string, options: AttachOptions) {
    const { input, tty, interrupts, spid } = options;
    this.#cli = cli;
    this.#contree = contree;
    this.#operation = operation;
    this.#spid = spid ?? SPID_MAIN;
    this.#isMain = spid === undefined;
    interrupts.actOn((name, count) => this.#interrupt(name, count));
    if (tty) this.#attachTerminal();
    if (input.kind === 'forward') this.#forward(input);
  }

  /** Copies output as it arrives until the process has ended, and with the main one the operation. */
  async follow(): Promise<AttachResult> {
    let exitCode: number | undefined;
    const query = { follow: true, full: true, ...(!this.#isMain && { spid: this.#spid }) };
    // Not ended by the signal of the command line: Ctrl-C is the process's.
    for await (const event of this.#contree.operations.events(this.#operation, query)) {
      if (event.spid === this.#spid && !this.#cli.json) await this.#show(event);
      if (event.type === 'exit' && event.spid === this.#spid) {
        exitCode = exitCodeOf(event.data);
        if (event.data.timed_out) this.#cli.note('stopped by its timeout');
        if (!this.#isMain) return { exitCode, image: null };
      }
      if (event.type === 'completion') {
        const { status, result_image_uuid: image } = event.data;
        return { exitCode: status === 'SUCCESS' ? exitCode : undefined, image };
      }
    }
    return { exitCode: undefined, image: null };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#cleanup.disposeAsync();
  }

  async #show(event: OperationEvent): Promise<void> {
    if (event.type === 'stdout' || event.type === 'stderr') {
      const bytes = streamBytes(event.data);
      this.#shown[event.type] += bytes.byteLength;
      await this.#cli.write(bytes, this.#cli.host[event.type]);
    }
    if (event.type !== 'truncated' || event.data.resumes_at === undefined) return;
    const { stream, resumes_at: resumesAt } = event.data;
    const missing = resumesAt - this.#shown[stream];
    if (missing <= 0) return;
    // Also where nobody watches: the reader would take it for whole.
    this.#cli.host.stderr.write(
      `contree: ${missing} bytes of ${stream} were removed from the log before they were shown\n`,
    );
    this.#shown[stream] = resumesAt;
  }

  /** Passes the first Ctrl-C to the command; the second one cancels the operation, or kills one of its other processes. */
  #interrupt(name: 'INT' | 'TERM', count: number): void {
    const signal = count === 1 ? name : 'KILL';
    const ask =
      count > 1 && this.#isMain
        ? this.#contree.operations.cancel(this.#operation)
        : this.#contree.processes.kill(this.#operation, this.#spid, { signal });
    // A command that has not started cannot be signalled; a second Ctrl-C cancels it in the queue.
    ask.catch((error: unknown) => {
      if (this.#isMain && !isFault(error, 'OPERATION_FINISHED'))
        this.#cli.note('the command has not started yet; press Ctrl-C again to cancel');
    });
  }

  #forward({ shared = false }: { readonly shared?: boolean }): void {
    const { stdin } = this.#cli.host;
    const { signal } = this.#stop;
    const target = { operation: this.#operation, spid: this.#spid };
    const forwarding = forwardInput(shared ? sharedInput(stdin, signal) : stdin, this.#contree, target, signal);
    const done = forwarding.catch((error: unknown) =>
      this.#cli.note(`forwarding standard input failed: ${String(error)}`),
    );
    this.#cleanup.defer(shared ? () => done : () => void stdin.destroy());
  }

  #attachTerminal(): void {
    const { stdin, stdout } = this.#cli.host;
    if (stdin.isTTY) {
      stdin.setRawMode?.(true);
      this.#cleanup.defer(() => void stdin.setRawMode?.(false));
    }
    const resize = (): void => {
      const { columns, rows } = stdout;
      if (columns === undefined || rows === undefined) return;
      const size = { columns, rows };
      this.#contree.processes.resize(this.#operation, this.#spid, size, this.#stop.signal).catch(() => undefined);
    };
    stdout.on('resize', resize);
    this.#cleanup.defer(() => void stdout.off('resize', resize));
    // Like SIGHUP to a shell whose terminal closes; a run without a terminal goes on.
    const hangUp = (): void => {
      this.#contree.processes.kill(this.#operation, this.#spid, { signal: 'HUP' }).catch(() => undefined);
    };
    this.#cleanup.use(this.#cli.host.onSignal('SIGHUP', hangUp));
  }
}
