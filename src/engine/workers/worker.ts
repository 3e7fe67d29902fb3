import { parentPort } from 'node:worker_threads';
import { isFault } from '../../contract/errors.ts';
import { defined } from '../../std/assert.ts';
import { provideDisposableStack } from '../../std/disposable-stack.ts';
import { answer, pieces, type StreamJob } from './jobs.ts';
import type { Request, Response } from './message.ts';

/*
 * Program of a thread that inspects images: runs one job after the other. Between jobs it keeps layers open and nothing
 * else; it may be terminated at any time.
 */

if (!('AsyncDisposableStack' in globalThis)) provideDisposableStack();

const port = defined(parentPort ?? undefined, 'it is started as a thread');

/** Current job. */
let current = new AbortController();
/**
 * Number of requested pieces that have not been sent; `changed` is called when there are more, or when the job is
 * cancelled.
 */
const demand = { pieces: 0, changed: (): void => {} };

function say(message: Response): void {
  port.postMessage(message, []);
}

async function send(job: StreamJob, signal: AbortSignal): Promise<void> {
  for await (const piece of pieces(job, signal)) {
    if (demand.pieces === 0) await new Promise<void>((resolve) => (demand.changed = resolve));
    signal.throwIfAborted();
    demand.pieces -= 1;
    // Copied, not transferred: its memory may belong to a larger buffer.
    say({ kind: 'piece', piece });
  }
}

async function work(request: Extract<Request, { readonly job: unknown }>): Promise<void> {
  current = new AbortController();
  demand.pieces = 0;
  const { signal } = current;
  try {
    if (request.kind === 'stream') await send(request.job, signal);
    const result = request.kind === 'answer' ? await answer(request.job, signal) : undefined;
    say({ kind: 'done', result });
  } catch (error) {
    say(isFault(error) ? { kind: 'fault', report: error.toJSON() } : { kind: 'error', error });
  }
}

port.on('message', (request: Request) => {
  switch (request.kind) {
    case 'more':
      demand.pieces += 1;
      demand.changed();
      break;
    case 'stop':
      current.abort();
      demand.changed();
      break;
    default:
      void work(request);
  }
});
