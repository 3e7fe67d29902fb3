import { createRequestStateCodec } from '@modelcontextprotocol/server';
import { randomBytes } from 'node:crypto';
import { limits } from '../contract/limits.ts';
import type { ConTree } from '../contract/contree.ts';
import { present } from '../std/present.ts';
import { chooseTools, TOOLS, type Accounts, type HostEnv, type Tool } from '../tools/index.ts';
import type { LocalFiles } from '../transfer/local-files.ts';
import { ImageNames } from './completion.ts';
import { SignInServer } from './sign-in-server.ts';

/**
 * Connects to the engine or to a server. Called on first need, not at start, and again after a failure. Over HTTP it is
 * given the request, so that a server with several tenants can connect each to what is theirs; what it returns is then
 * used for that request and not disposed.
 */
export type Connect = (request?: globalThis.Request) => Promise<ConTree>;

export interface McpOptions {
  /** Version of the product. */
  readonly version: string;
  /** Offer only tools that change nothing. */
  readonly readOnly?: boolean;
  /** Offer only the tools of these names; default all. */
  readonly tools?: readonly string[];
  /** Folders of this machine for rsync, upload and download; without it those tools are not offered. */
  readonly localFiles?: LocalFiles;
  /** Registry accounts of this machine; without it registry_auth only says what the user can do. */
  readonly accounts?: Accounts;
  /** Variables of this machine that `run` may pass on by name, with their values. */
  readonly hostEnv?: HostEnv;
  /** Command by which the user runs our command line; default `contree`. */
  readonly program?: string;
  /** Let registry_auth take the secret as an argument, where the model sees it. Default false. */
  readonly allowTokenArgument?: boolean;
  /** Time a call waits for an operation when the client requests no progress (default: `limits.inlineWaitMs`). */
  readonly inlineWaitMs?: number;
  /**
   * Time a call waits for an operation before it becomes a task, for clients with tasks (default:
   * `limits.taskAfterMs`).
   */
  readonly taskAfterMs?: number;
  /** Effect of a closed HTTP response stream on the operation that the call started (default: `stop`). */
  readonly onDisconnect?: 'stop' | 'detach';
  /** Fires when this server is asked to stop: calls that end then were not ended by their client. */
  readonly closing?: AbortSignal;
  /** Takes one line for the log; default standard error. Never standard output: that is the protocol's. */
  readonly log?: (line: string) => void;
}

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
  /** Names of our tools that are not offered. */
  readonly missingTools: readonly string[];
  readonly names = new ImageNames();
  readonly signIn: SignInServer;
  /** Seals what a client carries between two rounds of one call. */
  readonly stateCodec = createRequestStateCodec<RoundState>({ key: randomBytes(32), ttlSeconds: 600 });
  readonly #connect: Connect;
  readonly #calls = new Set<Promise<unknown>>();
  #shared: Promise<ConTree> | undefined;

  constructor(connect: Connect, options: McpOptions) {
    this.#connect = connect;
    this.options = options;
    const { readOnly = false, tools: names, localFiles } = options;
    this.tools = chooseTools(present({ readOnly, names, localFiles: localFiles !== undefined }));
    this.missingTools = TOOLS.filter((tool) => !this.tools.includes(tool)).map(({ name }) => name);
    this.signIn = new SignInServer(options.accounts);
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
    await this.signIn[Symbol.asyncDispose]();
    const shared = await this.#shared?.catch(() => undefined);
    await shared?.[Symbol.asyncDispose]();
  }
}
