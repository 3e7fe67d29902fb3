import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readSettings } from '../config/index.ts';
import type { ContreeServer } from '../contract/contree.ts';
import type { OperationGetQuery, OperationResponse } from '../contract/operation.ts';
import { SPID_INIT } from '../contract/operation-state.ts';
import { streamBytes } from '../contract/stream.ts';
import { openSession } from './session.ts';

export { ContreeError, isFault, type ErrorCode } from '../contract/errors.ts';
export { streamBytes } from '../contract/stream.ts';
export type * from '../contract/event.ts';
export type * from '../contract/file.ts';
export type * from '../contract/image.ts';
export type * from '../contract/inspect.ts';
export type * from '../contract/operation.ts';
export type * from '../contract/run.ts';
export type * from '../contract/server.ts';

/**
 * Selects an engine. Missing fields are taken from the environment and the configuration file, as the `contree` command
 * does.
 */
export interface ContreeOptions {
  /** A server, for example `https://sandboxes.example.org`; without one, the engine of this machine. */
  readonly url?: string;
  readonly token?: string;
  readonly project?: string;
  /** Options of the engine of this machine. */
  readonly dataDir?: string;
  /** Starts the engine of this machine when none is running; it exits by itself when idle. Default: no. */
  readonly start?: boolean;
}

/** A connection to an engine: `ConTree` in groups, and waiting for operations. */
export interface Contree extends Omit<ContreeServer, 'operations'> {
  readonly operations: ContreeServer['operations'] & {
    /** Waits until an operation has ended, and returns what `get` returns. No output is transferred before the end. */
    wait(operation: string, query?: OperationGetQuery, signal?: AbortSignal): Promise<OperationResponse>;
  };
  /** Closes the connection; so does `await using`. Operations go on. */
  close(): Promise<void>;
}

/** End of the main command of a run. */
export interface RunOutcome {
  /** Null while it is unknown: the operation failed, was cancelled or is an import. */
  readonly exit_code: number | null;
  /** Output as text; `streamBytes` of the operation's result has the bytes. */
  readonly stdout: string;
  readonly stderr: string;
  /** UUID of the resulting image; null when nothing was kept. */
  readonly image: string | null;
  /**
   * Reason why the operation failed; null when it did not. A command that exits with a code other than 0 has not
   * failed.
   */
  readonly error: string | null;
}

const ROOT = new URL('../../', import.meta.url);

/**
 * Connects to an engine: over this machine's Unix socket or over the network.
 *
 * Faults: ENGINE_UNAVAILABLE when none is running and `start` is not set, CONFIG_INVALID. A remote server is first
 * contacted by the first call.
 */
export async function connect(options: ContreeOptions = {}, signal?: AbortSignal): Promise<Contree> {
  const { start = false, ...flags } = options;
  const { env, execPath } = process;
  const { version } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as { version: string };
  const settings = readSettings({ program: 'contree', flags, env });
  const self = [execPath, fileURLToPath(new URL('bin/contree', ROOT))] as const;
  const contree = await openSession(settings, { program: 'contree-sdk', version, env, self, start }, signal);
  const { operations } = contree;
  return {
    ...contree,
    operations: {
      ...operations,
      wait: async (operation, query, ends) => {
        // Only the events of the operation itself, without any output: they include the end.
        const log = operations.events(operation, { follow: true, spid: SPID_INIT }, ends);
        for await (const { type } of log) if (type === 'completion') break;
        return operations.get(operation, query, ends);
      },
    },
    close: async () => contree[Symbol.asyncDispose](),
  };
}

/** Returns how a run ended, with its output as text. */
export function runOutcome({ metadata, result, error }: OperationResponse): RunOutcome {
  const { state, stdout, stderr } = 'result' in metadata ? metadata.result : {};
  const text = (stream: typeof stdout): string => (stream === undefined ? '' : streamBytes(stream).toString('utf8'));
  return {
    exit_code: state?.exit_code ?? null,
    stdout: text(stdout),
    stderr: text(stderr),
    image: result?.image ?? null,
    error,
  };
}
