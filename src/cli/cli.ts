import { once } from 'node:events';
import type { Settings } from '../config/index.ts';
import type { HttpContree } from '../client/index.ts';
import { isUuid } from '../contract/names.ts';
import { formatted, type OutputFormat } from './format.ts';
import type { CliHost, TerminalOutput } from './host.ts';
import { openSession } from '../client/session.ts';
import { visible } from './text.ts';

/** One invocation of a command: its settings, its connection and its output. */
export class Cli implements AsyncDisposable {
  readonly host: CliHost;
  readonly settings: Settings;
  readonly #format: OutputFormat;
  readonly #interrupt = new AbortController();
  readonly #cleanup = new AsyncDisposableStack();
  #onInterrupt: () => void = () => this.#interrupt.abort(new Error('interrupted'));
  #connection: Promise<HttpContree> | undefined;

  constructor(host: CliHost, settings: Settings, format: OutputFormat) {
    this.host = host;
    this.settings = settings;
    this.#format = format;
    this.#cleanup.use(host.onSignal('SIGINT', () => this.#onInterrupt()));
  }

  /** True when standard output carries one value for programs, such as JSON, instead of text. */
  get json(): boolean {
    return this.#format !== 'text';
  }

  /** Aborts when the user presses Ctrl-C, unless a command handles Ctrl-C itself. */
  get signal(): AbortSignal {
    return this.#interrupt.signal;
  }

  get interrupted(): boolean {
    return this.#interrupt.signal.aborted;
  }

  onInterrupt(callback: () => void): void {
    this.#onInterrupt = callback;
  }

  /** Connects on first use; the connection is closed when the command ends. */
  async contree(): Promise<HttpContree> {
    this.#connection ??= this.#open();
    return this.#connection;
  }

  async #open(): Promise<HttpContree> {
    const { env, version, self } = this.host;
    const notice = (text: string): void => this.note(text);
    const options = { program: 'contree', version, env, self, notice };
    return this.#cleanup.use(await openSession(this.settings, options, this.signal));
  }

  /** Prints a result: the value in the format that was asked for, otherwise the text. */
  async print(value: unknown, text: string | (() => string)): Promise<void> {
    if (this.#format !== 'text') await this.write(formatted(value, this.#format));
    else await this.write(typeof text === 'string' ? text : text());
  }

  /** Writes bytes to standard output at the pace of its reader. */
  async write(bytes: string | Uint8Array, to: TerminalOutput = this.host.stdout): Promise<void> {
    if (!to.write(bytes)) await once(to, 'drain', { signal: this.signal });
  }

  /** Prints a line for the person watching; it is never part of a result. */
  note(line: string): void {
    if (this.host.stderr.isTTY && !this.json) this.host.stderr.write(`${line}\n`);
  }

  /** Returns a name for output: raw for a program, escaped for a terminal. */
  name(text: string): string {
    return this.host.stdout.isTTY ? visible(text) : text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** Converts an image as people name it: a UUID, `tag:NAME`, or just the tag. */
export function imageReference(text: string): string {
  return isUuid(text) || text.startsWith('tag:') ? text : `tag:${text}`;
}

/** Parses `IMAGE:/PATH`, or the image and the path as separate arguments. */
export function parseImagePath(
  text: string,
  path: string | undefined,
): { readonly image: string; readonly path: string } {
  const [, image, inner] = /^(.+?):(\/.*)$/su.exec(text) ?? [];
  if (path === undefined && image !== undefined && inner !== undefined)
    return { image: imageReference(image), path: inner };
  return { image: imageReference(text), path: path ?? '/' };
}
