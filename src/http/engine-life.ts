import { closeSync, writeSync } from 'node:fs';
import { isFault } from '../contract/errors.ts';
import { serveEngine, type EngineServerOptions, type ServedEngine } from './engine-server.ts';
import type { Log } from './log.ts';
import { aborted } from '../std/abort.ts';

/** Runs under way may end within this time after the engine was asked to leave; then they are marked as failed. */
const LEAVE_GRACE_MS = 5_000;

/** An engine as this process owns it. */
export interface OwnedEngine extends AsyncDisposable, ServedEngine {
  /** Accepts nothing more, and resolves when nothing runs any more or after the grace. */
  readonly leave: (graceMs: number) => Promise<void>;
}

export interface EngineLifeOptions extends Omit<EngineServerOptions, 'served' | 'onReady'> {
  readonly open: (log: Log) => Promise<OwnedEngine>;
  /** Descriptor on which the starter waits for one line: `{"ready":true}` or the fault that ends us. */
  readonly readyDescriptor?: number;
  readonly onReady?: (addresses: readonly string[]) => void;
}

/**
 * The life of an engine process: open, listen, say so, serve until asked to leave (SIGTERM, SIGINT, its API) or idle,
 * let what runs end, close. A second signal does not wait for what runs.
 */
export async function runEngineProcess(options: EngineLifeOptions): Promise<void> {
  const { log, open, readyDescriptor, onReady } = options;
  const [leave, hurry] = [new AbortController(), new AbortController()];
  const onSignal = (name: NodeJS.Signals): void => (leave.signal.aborted ? hurry : leave).abort(name);
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
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
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}

/** Returns a function that writes one line to the starter, once. A starter that is gone does not matter. */
function reporter(descriptor: number | undefined): (value: unknown) => void {
  let open = descriptor !== undefined;
  return (value) => {
    if (!open || descriptor === undefined) return;
    open = false;
    try {
      writeSync(descriptor, `${JSON.stringify(value)}\n`);
      closeSync(descriptor);
    } catch {
      // Nobody waits any more.
    }
  };
}
