import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { fault, faultFromReport } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { settlesWithin, untilAborted } from '../../std/abort.ts';

const LOG_BYTES_MAX = 8 * 1024 * 1024;
const READY_BYTES_MAX = 64 * 1024;

/**
 * glibc settings of an engine (mallopt(3)): large buffers are allocated separately, so that they return to the system
 * when freed. By default glibc raises the threshold to the largest buffer ever freed, and streamed buffers end up
 * between long-lived ones. Measured: docs/decisions/0013-import-memory.md.
 */
const ALLOCATOR = { MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '262144' };

/** File descriptor on which a new engine reports that it is ready, or why it cannot start. */
const READY_DESCRIPTOR = 3;

export interface EngineCommand {
  /** Program and arguments. */
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** File that receives the engine's output. */
  readonly log: string;
}

/**
 * Starts an engine that outlives us, and resolves when it is ready. The engine writes one line of JSON to
 * `READY_DESCRIPTOR`: `{"ready":true}`, or the fault that prevents its start.
 *
 * Faults: that of the engine, or ENGINE_UNAVAILABLE.
 */
export async function startEngineProcess({ argv, env, log }: EngineCommand, signal?: AbortSignal): Promise<void> {
  rotate(log);
  const output = openSync(log, 'a', 0o600);
  const [program, ...parameters] = argv;
  let child: ChildProcess;
  try {
    // A session of its own, in the root directory: it must keep neither our terminal nor our directory in use.
    child = spawn(program, parameters, {
      detached: true,
      cwd: '/',
      env: { ...ALLOCATOR, ...env },
      stdio: ['ignore', output, output, 'pipe'],
    });
  } finally {
    closeSync(output);
  }
  try {
    const line = await firstLine(child, signal);
    const report: unknown = line === '' ? undefined : JSON.parse(line);
    if ((report as { ready?: boolean } | undefined)?.ready !== true) {
      throw faultFromReport(report) ?? fault('ENGINE_UNAVAILABLE', { reason: lastWords(log) });
    }
  } catch (error) {
    child.kill('SIGTERM');
    throw error;
  } finally {
    (child.stdio[READY_DESCRIPTOR] as Readable).destroy();
    child.unref();
  }
}

async function firstLine(child: ChildProcess, signal: AbortSignal | undefined): Promise<string> {
  const notStarted = once(child, 'error').then(([error]: Error[]): never => {
    throw fault('ENGINE_UNAVAILABLE', { reason: error?.message ?? 'it cannot be started' }, { cause: error });
  });
  const line = Promise.race([readLine(child.stdio[READY_DESCRIPTOR] as Readable), notStarted]);
  if (await untilAborted(settlesWithin(line, limits.engineReadyMsMax), signal)) return await line;
  throw fault('ENGINE_UNAVAILABLE', { reason: `it is not ready after ${limits.engineReadyMsMax} ms` });
}

/** Reads up to the first line break, or to the end if the process ends without one. */
async function readLine(pipe: Readable): Promise<string> {
  let text = '';
  for await (const chunk of pipe) {
    text += String(chunk);
    if (text.includes('\n') || text.length > READY_BYTES_MAX) break;
  }
  return text.split('\n')[0] ?? '';
}

/** Returns the last output of the engine, for the message of a fault. */
function lastWords(log: string): string {
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  const words = lines.findLast((line) => /error/iu.test(line)) ?? lines.at(-1) ?? '';
  return words === '' ? 'it exited without logging anything' : `it ended; its log says: ${words.slice(0, 300)}`;
}

function rotate(log: string): void {
  if (existsSync(log) && statSync(log).size > LOG_BYTES_MAX) renameSync(log, `${log}.1`);
}
