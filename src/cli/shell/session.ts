import type { ConTree } from '../../contract/contree.ts';
import { isFault } from '../../contract/errors.ts';
import type { InstanceOpenRequest } from '../../contract/instance.ts';
import { isFinished } from '../../contract/operation-state.ts';
import type { ExecSpec } from '../../contract/run.ts';
import { streamBytes, streamRepr } from '../../contract/stream.ts';
import type { Cli } from '../cli.ts';
import { closeInstance, openInstance } from '../instances/instance.ts';
import { execute } from '../instances/exec.ts';
import { terminalSize } from '../terminal/attached.ts';
import { Interrupts } from '../terminal/interrupts.ts';
import { directoryOf, setUpScript, SHELL_FILE, STATE_FILE, type ShellKind } from './state-script.ts';
import { Timeline } from './timeline.ts';

/** Largest state that is taken along to the next instance. */
const STATE_BYTES_MAX = 1024 * 1024;

/** Faults of an instance that has ended. */
const ENDED = ['INSTANCE_NOT_RUNNING', 'INSTANCE_FINISHED', 'OPERATION_FINISHED', 'OPERATION_NOT_FOUND'] as const;

export interface ShellSessionOptions {
  readonly request: InstanceOpenRequest;
  /** Image as the user named it. */
  readonly name: string;
  /** True to give commands our terminal. */
  readonly tty: boolean;
}

/**
 * A shell whose lines are executed one by one in an instance. What a line changes becomes an image, and its state
 * (variables, directory) is taken along when the session goes to another image, which is another instance.
 */
export class ShellSession implements AsyncDisposable {
  readonly timeline: Timeline;
  readonly #cli: Cli;
  readonly #contree: ConTree;
  readonly #options: ShellSessionOptions;
  readonly #kind: ShellKind;
  #instance: string;
  #state = '';
  /** True while the instance may have changes of which no image was made. */
  #unsaved = false;

  private constructor(cli: Cli, contree: ConTree, options: ShellSessionOptions, opened: Opened) {
    this.#cli = cli;
    this.#contree = contree;
    this.#options = options;
    this.#instance = opened.uuid;
    this.#kind = opened.kind;
    this.timeline = new Timeline(opened.image, options.name);
  }

  static async open(cli: Cli, options: ShellSessionOptions): Promise<ShellSession> {
    const contree = await cli.contree();
    const { uuid, image } = await openInstance(contree, options.request, cli.signal);
    const plain = new ShellSession(cli, contree, options, { uuid, image, kind: 'sh' });
    const { code } = await plain.#quietly({ command: 'bash', args: ['-c', ':'] });
    const session = code === 0 ? new ShellSession(cli, contree, options, { uuid, image, kind: 'bash' }) : plain;
    await session.#setUp();
    return session;
  }

  /** Working directory of the next line. */
  get directory(): string {
    return directoryOf(this.#state);
  }

  /** Executes one line and makes an image of what it changed. Returns its exit code. */
  async run(line: string): Promise<number> {
    const { tty } = this.#options;
    const spec: ExecSpec = {
      command: line,
      shell: true,
      env: { SHELL: SHELL_FILE },
      ...(tty && { tty: terminalSize(this.#cli.host.stdout), stdin: { value: '', encoding: 'ascii', close: false } }),
    };
    this.#unsaved = true;
    const exitCode = await this.#execute(spec, { again: true });
    await this.#save(line);
    return exitCode;
  }

  /** Continues with the files of the current moment, in another instance. */
  async enter(): Promise<void> {
    const left = this.#instance;
    await this.#reopen();
    await closeInstance(this.#contree, left, { keep: false }, this.#cli.signal).catch(ignoreEnded);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What is not in an image yet is kept; without it there is nothing to keep.
    const request = this.#unsaved ? {} : { keep: false };
    await this.#contree.instances.close(this.#instance, request).catch(ignoreEnded);
  }

  async #execute(spec: ExecSpec, { again }: { readonly again: boolean }): Promise<number> {
    using interrupts = new Interrupts(this.#cli);
    const input = spec.tty === undefined ? ({ kind: 'none' } as const) : SHARED_INPUT;
    try {
      const { exitCode } = await execute(this.#cli, this.#contree, {
        instance: this.#instance,
        spec,
        input,
        interrupts,
      });
      return exitCode;
    } catch (error) {
      if (!(await this.#hasEnded())) throw error;
      await this.#recover();
      // A line that was not started can be; of one that was interrupted nobody knows how far it came.
      if (again && isFault(error, ...ENDED)) return await this.#execute(spec, { again: false });
      return EXIT_LOST;
    }
  }

  /** Opens another instance in place of one that has ended, from the last image that there is of it. */
  async #recover(): Promise<void> {
    const { result_image_uuid: kept, error } = await this.#contree.operations.get(this.#instance, { output_bytes: 0 });
    if (kept !== null && kept !== this.timeline.current.image)
      this.timeline.made(kept, '(kept when the instance ended)');
    await this.#reopen();
    const reason = error === null ? '' : ` (${error})`;
    this.#tell(`the instance has ended${reason}; opened again from image ${this.timeline.current.image}`);
  }

  async #reopen(): Promise<void> {
    const { request } = this.#options;
    const { files: _files, directory_states: _states, ...again } = request;
    const { image } = this.timeline.current;
    const { uuid } = await openInstance(this.#contree, { ...again, image }, this.#cli.signal);
    this.#instance = uuid;
    this.#unsaved = false;
    await this.#setUp();
  }

  /** Puts the shell's own files and its state into the instance. */
  async #setUp(): Promise<void> {
    const stdin = { ...streamRepr(Buffer.from(this.#state)), close: true };
    await this.#quietly({ command: 'sh', args: ['-c', setUpScript(this.#kind)], stdin });
  }

  /** Makes an image of what a line changed, and remembers the state of the shell. */
  async #save(line: string): Promise<void> {
    if (await this.#hasEnded()) return;
    const { text } = await this.#quietly({ command: 'cat', args: [STATE_FILE] });
    if (Buffer.byteLength(text) <= STATE_BYTES_MAX) this.#state = text;
    const { image, changed } = await this.#contree.instances.snapshot(this.#instance, {}, this.#cli.signal);
    this.#unsaved = false;
    if (changed) this.timeline.made(image, line);
  }

  async #hasEnded(): Promise<boolean> {
    return isFinished((await this.#contree.operations.get(this.#instance, { output_bytes: 0 })).status);
  }

  /** Executes a command whose output is not shown. */
  async #quietly(spec: ExecSpec): Promise<{ readonly code: number; readonly text: string }> {
    const { spid } = await this.#contree.processes.start(this.#instance, spec, this.#cli.signal);
    const query = { follow: true, full: true, spid };
    const parts: Buffer[] = [];
    for await (const event of this.#contree.operations.events(this.#instance, query, this.#cli.signal)) {
      if (event.type === 'stdout') parts.push(streamBytes(event.data));
      if (event.type === 'exit') return { code: event.data.code, text: Buffer.concat(parts).toString('utf8') };
    }
    return { code: -1, text: '' };
  }

  #tell(text: string): void {
    this.#cli.host.stderr.write(`contree: ${text}\n`);
  }
}

interface Opened {
  readonly uuid: string;
  readonly image: string;
  readonly kind: ShellKind;
}

/** Exit code of a line whose instance ended meanwhile: that of a shell for a command that was killed. */
const EXIT_LOST = 137;

/** Our terminal, which the shell reads again after the command. */
const SHARED_INPUT = { kind: 'forward', first: { value: '', encoding: 'ascii', close: false }, shared: true } as const;

function ignoreEnded(error: unknown): void {
  if (!isFault(error, ...ENDED)) throw error;
}
