import { createRequestStateCodec } from '@modelcontextprotocol/server';
import { randomBytes } from 'node:crypto';
import { limits } from '../contract/limits.ts';
import type { ConTree } from '../contract/contree.ts';
import { chooseTools, type Tool } from '../tools/index.ts';
import { ImageNames } from './image-names.ts';
import type { Connect, McpOptions } from './options.ts';
import { SignInDesk } from './sign-in-desk.ts';

/** State that a client carries between two rounds of one call. */
export interface RoundState {
  /** Question that was asked; an answer is valid for no other. */
  readonly about: string;
  /** Id of the sign-in page that was opened for it. */
  readonly page?: string;
}

/** State shared by all connections of one process. */
export class McpContext implements AsyncDisposable {
  readonly options: McpOptions;
  readonly tools: readonly Tool[];
  readonly names = new ImageNames();
  readonly desk: SignInDesk;
  /** Codec that seals the state carried between two rounds of one call. */
  readonly stateCodec = createRequestStateCodec<RoundState>({ key: randomBytes(32), ttlSeconds: 600 });
  readonly #connect: Connect;
  readonly #calls = new Set<Promise<unknown>>();
  #shared: Promise<ConTree> | undefined;

  constructor(connect: Connect, options: McpOptions) {
    this.#connect = connect;
    this.options = options;
    const { readOnly = false, tools: names, localFiles } = options;
    this.tools = chooseTools({ readOnly, ...(names && { names }), localFiles: localFiles !== undefined });
    this.desk = new SignInDesk(options.accounts);
  }

  get inlineWaitMs(): number {
    return this.options.inlineWaitMs ?? limits.inlineWaitMs;
  }

  log(line: string): void {
    const { log = (text: string) => process.stderr.write(`${text}\n`) } = this.options;
    log(line);
  }

  /**
   * Returns the connection for one HTTP request, or the one shared by all of stdio. A failed attempt is retried by the
   * next call.
   */
  async contree(request?: globalThis.Request): Promise<ConTree> {
    if (request !== undefined) return await this.#connect(request);
    this.#shared ??= this.#connect();
    try {
      return await this.#shared;
    } catch (error) {
      this.#shared = undefined;
      throw error;
    }
  }

  /** Tracks a call until it has ended, aborted ones too: they still have to report what happens to their operation. */
  async call<Value>(work: () => Promise<Value>): Promise<Value> {
    const running = work();
    this.#calls.add(running);
    try {
      return await running;
    } finally {
      this.#calls.delete(running);
    }
  }

  /** Waits for the current calls, then closes the connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#calls);
    await this.desk[Symbol.asyncDispose]();
    const shared = await this.#shared?.catch(() => undefined);
    await shared?.[Symbol.asyncDispose]();
  }
}
