import { randomUUID } from 'node:crypto';
import { closeSync, writeSync } from 'node:fs';
import { isFault } from '../contract/errors.ts';
import { serveEngine, type EngineServerOptions, type ServedEngine } from './engine-server.ts';
import type { Log } from './log.ts';
import { aborted } from '../std/abort.ts';

/** Time for running operations to finish after the engine was asked to stop; then they are marked as failed. */
const LEAVE_GRACE_MS = 5_000;

/** Engine owned by this process. */
export interface OwnedEngine extends AsyncDisposable, ServedEngine {
  /** Refuses new work, and resolves when nothing is running any more or the grace period is over. */
  readonly leave: (graceMs: number) => Promise<void>;
}

export interface EngineLifeOptions extends Omit<EngineServerOptions, 'served' | 'onReady'> {
  readonly open: (log: Log) => Promise<OwnedEngine>;
  /** File descriptor on which the starting process waits for one line: `{"ready":true}` or the fault that ends us. */
  readonly readyDescriptor?: number;
  readonly onReady?: (addresses: readonly string[]) => void;
}

/**
 * Runs an engine process: opens it, listens, reports readiness, serves until asked to stop (SIGTERM, SIGINT, its API)
 * or idle, lets running operations finish, and closes. A second signal does not wait for them.
 */
export async function runEngineProcess(options: EngineLifeOptions): Promise<void> {
  const { log, open, readyDescriptor, onReady } = options;
  const [leave, hurry] = [new AbortController(), new AbortController()];
  const onSignal = (name: NodeJS.Signals): void => (leave.signal.aborted ? hurry : leave).abort(name);
  // Its state is unknown then, so the process ends, as Node has it; the log says why.
  const onUncaught = (error: Error): void =>
    log.error({ incident: randomUUID(), cause: error.stack }, 'the engine ends by an error that nothing caught');
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal).on('uncaughtExceptionMonitor', onUncaught);
  const report = reporter(readyDescriptor);
  try {
    await using engine = await open(log);
    const served: EngineServerOptions = {
      ...options,
      served: engine,
      onReady: (addresses) => {
        report({ ready: true });
        log.info({ addresses, version: options.version }, 'ready');
        onReady?.(addresses);
      },
    };
    const why = await serveEngine(served, leave.signal);
    log.info({ why }, 'leaving');
    await Promise.race([engine.leave(LEAVE_GRACE_MS), aborted(hurry.signal)]);
  } catch (error) {
    report(isFault(error) ? error.toJSON() : { error: String(error) });
    throw error;
  } finally {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal).off('uncaughtExceptionMonitor', onUncaught);
  }
}

/** Returns a function that writes one line to the starting process, once, and ignores that it may be gone. */
function reporter(descriptor: number | undefined): (value: unknown) => void {
  let open = descriptor !== undefined;
  return (value) => {
    if (!open || descriptor === undefined) return;
    open = false;
    try {
      writeSync(descriptor, `${JSON.stringify(value)}\n`);
      closeSync(descriptor);
    } catch {
      // The starting process no longer waits.
    }
  };
}
