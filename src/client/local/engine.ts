import { readFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { dirname } from 'node:path';
import { fault, isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { EngineCommand } from './engine-process.ts';
import { pause } from '../../std/abort.ts';

/** Interval at which waiting processes check whether the engine of another process answers. */
const LOOK_MS = 20;
/** Time that an engine may take to release the data directory: to keep the changes of open instances, on a busy machine. */
const LEAVE_MS_MAX = limits.instanceStopMsMax + 25_000;

export interface LocalEngineOptions {
  readonly socket: string;
  readonly startLock: string;
  readonly command: EngineCommand;
  /** True to start it when none is running (default). */
  readonly start?: boolean;
}

/** Reports whether a server listens on the socket. */
export function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connectSocket(socket);
    const settle = (answer: boolean): void => {
      connection.destroy();
      resolve(answer);
    };
    connection.once('connect', () => settle(true)).once('error', () => settle(false));
  });
}

/**
 * Makes sure that an engine is listening. When several processes find none, one of them starts it and the others wait.
 * Faults: ENGINE_UNAVAILABLE, STORE_LOCKED, CONFIG_INVALID for a data directory that cannot be made, or the engine's own.
 */
export async function ensureEngine(options: LocalEngineOptions, signal?: AbortSignal): Promise<void> {
  const { socket, startLock } = options;
  if (await answers(socket)) return;
  if (options.start === false) throw fault('ENGINE_UNAVAILABLE', { reason: 'no engine is running' });
  const { tryLock } = await import('./start-lock.ts');
  await makeDataDirectory(dirname(startLock));
  const deadlineMs = performance.now() + limits.engineReadyMsMax;
  while (performance.now() < deadlineMs) {
    using lock = tryLock(startLock);
    if (await answers(socket)) return;
    if (lock !== undefined && (await start(options, performance.now() + LOOK_MS < deadlineMs, signal))) return;
    await pause(LOOK_MS, signal);
  }
  throw fault('ENGINE_UNAVAILABLE', { reason: 'another process is starting it and does not finish' });
}

async function makeDataDirectory(path: string): Promise<void> {
  // Loaded on demand: an engine is running most of the time.
  const { makeFolders } = await import('../../std/files.ts');
  try {
    await makeFolders(path, 0o700);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw fault('CONFIG_INVALID', { setting: 'data-dir', reason }, { cause: error });
  }
}

/** Starts the engine; returns false when another one is still stopping and a retry is worthwhile. */
async function start(
  { command }: LocalEngineOptions,
  again: boolean,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    // Loaded on demand: an engine is running most of the time.
    const { startEngineProcess } = await import('./engine-process.ts');
    await startEngineProcess(command, signal);
    return true;
  } catch (error) {
    if (again && isFault(error, 'STORE_LOCKED')) return false;
    throw error;
  }
}

/**
 * Waits until an engine that was asked to stop no longer listens and its process has ended: it goes on for as long as it
 * keeps changes. Faults: ENGINE_UNAVAILABLE.
 */
export async function engineLeft(socket: string, pid: number, signal?: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + LEAVE_MS_MAX;
  while ((await answers(socket)) || runs(pid)) {
    if (performance.now() > deadlineMs) throw fault('ENGINE_UNAVAILABLE', { reason: `engine ${pid} does not stop` });
    await pause(LOOK_MS, signal);
  }
}

/** Reports whether a process runs, other than our own. One that has ended may still be there until its parent asks for it. */
function runs(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    // proc_pid_stat(5): the state follows the name, which is in parentheses and may have some itself.
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !['Z', 'X'].includes(text.slice(text.lastIndexOf(')') + 2)[0] ?? '');
  } catch {
    return false;
  }
}

/** Reports whether `version` is older than `other`; text that is not a version is older than everything. */
export function isOlder({ version }: { readonly version: string }, other: string): boolean {
  const [mine, theirs] = [numbers(version), numbers(other)];
  const index = theirs.findIndex((number, position) => number !== (mine[position] ?? -1));
  return index !== -1 && (mine[index] ?? -1) < (theirs[index] ?? 0);
}

function numbers(version: string): number[] {
  return /^\d+(?:\.\d+)*/u.exec(version)?.[0].split('.').map(Number) ?? [];
}
