import type { ConTree } from '../contract/contree.ts';
import type { Accounts, HostEnv, LocalFiles } from '../tools/index.ts';

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
  /** Fires when this server is told to stop: calls that end then were not ended by their clients. */
  readonly closing?: AbortSignal;
  /** Takes one line for the log; default standard error. Never standard output: that is the protocol's. */
  readonly log?: (line: string) => void;
}
