import { isFault } from '../../contract/errors.ts';
import { isFinished, SPID_INIT } from '../../contract/operation-state.ts';
import { streamBytes } from '../../contract/stream.ts';
import type { ConTree } from '../../contract/contree.ts';
import type { OperationEvent } from '../../contract/event.ts';
import type { OperationResponse } from '../../contract/operation.ts';
import { plainName } from './text.ts';
import type { Progress, ToolCall } from './tool.ts';
import { pause } from '../../std/abort.ts';
import { present } from '../../std/present.ts';

const POLL_MS_MIN = 250;
const POLL_MS_MAX = 2_000;
/** Time beyond the operation's own timeout: queueing, restoring, saving the image. */
const WAIT_SECONDS_EXTRA = 30;
const CANCEL_MS_MAX = 5_000;
const LINE_CHARACTERS_MAX = 160;

export interface FollowOptions {
  /** Called with each event; without it no output is transferred before the end. */
  readonly onEvent?: ((event: OperationEvent) => void) | undefined;
  /** Bytes of each end of each stream that the result holds. */
  readonly outputBytes: number;
  readonly signal: AbortSignal;
}

/**
 * Waits until an operation has finished. Follows the event log and, where a server has none or the stream breaks, polls
 * the state with growing pauses. Rejects with the signal's reason.
 */
export async function untilFinished(
  contree: ConTree,
  uuid: string,
  { onEvent, outputBytes, signal }: FollowOptions,
): Promise<OperationResponse> {
  let since: number | undefined;
  let hasEvents = true;
  for (let pauseMs = POLL_MS_MIN; ; pauseMs = Math.min(pauseMs * 2, POLL_MS_MAX)) {
    try {
      const query = present({ follow: true, since, spid: onEvent ? undefined : SPID_INIT });
      for await (const event of hasEvents ? contree.operations.events(uuid, query, signal) : []) {
        since = event.id;
        pauseMs = POLL_MS_MIN;
        onEvent?.(event);
      }
    } catch (error) {
      if (signal.aborted || !isFault(error)) throw error;
      if (error.class === 'missing' || error.class === 'unsupported') hasEvents = false;
    }
    const operation = await contree.operations.get(uuid, { output_bytes: outputBytes }, signal);
    if (isFinished(operation.status)) return operation;
    await pause(pauseMs, signal);
  }
}

/**
 * Waits for an operation that this call has started until it ends, or as long as the client can be expected to wait.
 * Returns its last state, finished or not. When the call is aborted, the operation is cancelled only if the user wanted
 * that.
 */
export async function followOwn(
  call: ToolCall,
  operation: string,
  { timeoutSeconds, outputBytes }: { readonly timeoutSeconds: number; readonly outputBytes: number },
): Promise<OperationResponse> {
  const { contree, signal } = call;
  // A client without progress times out after about a minute: return earlier, with the id to wait for.
  const listensMs = call.progress ? (timeoutSeconds + WAIT_SECONDS_EXTRA) * 1_000 : call.inlineWaitMs;
  const waitMs = Math.min(listensMs, call.taskHandoff?.afterMs ?? Infinity);
  const deadline = AbortSignal.timeout(waitMs);
  using reporter = report(call.progress, operation, timeoutSeconds);
  try {
    const onEvent = call.progress && reporter.onEvent;
    const either = AbortSignal.any([signal, deadline]);
    return await untilFinished(contree, operation, { onEvent, outputBytes, signal: either });
  } catch (error) {
    if (signal.aborted) {
      await abandon(call, operation);
      throw error;
    }
    if (!deadline.aborted) throw error;
    const state = await contree.operations.get(operation, { output_bytes: outputBytes }, signal);
    if (!isFinished(state.status)) call.taskHandoff?.take(state);
    return state;
  }
}

async function abandon(call: ToolCall, operation: string): Promise<void> {
  if (!call.stopsWork()) {
    call.log(`operation ${operation} goes on; get_operation shows its result`);
    return;
  }
  try {
    await call.contree.operations.cancel(operation, AbortSignal.timeout(CANCEL_MS_MAX));
  } catch (error) {
    // It may have ended meanwhile; any other failure has no receiver either.
    call.log(`operation ${operation} was not cancelled: ${error instanceof Error ? error.message : String(error)}`);
  }
}

interface Reporter extends Disposable {
  readonly onEvent: (event: OperationEvent) => void;
}

/** Reports immediately (with the id, so that it is known after an abort), then every 2 s, and after 10 s every 5 s. */
function report(send: ((step: Progress) => void) | undefined, operation: string, totalSeconds: number): Reporter {
  const startedMs = performance.now();
  let state = 'PENDING';
  let line = `operation ${operation}`;
  const step = (): void =>
    send?.({
      progress: Math.round(performance.now() - startedMs) / 1_000,
      total: totalSeconds,
      message: line === '' ? state : `${state} · ${line}`,
    });
  step();
  let timer: NodeJS.Timeout | undefined;
  const arm = (): void => {
    timer = setTimeout(
      () => {
        step();
        arm();
      },
      performance.now() - startedMs < 10_000 ? 2_000 : 5_000,
    );
  };
  if (send) arm();
  return {
    onEvent: (event) => {
      state = 'EXECUTING';
      line = lineOf(event) ?? line;
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}

/** Returns the last line of an output event. */
function lineOf(event: OperationEvent): string | undefined {
  if (event.type !== 'stdout' && event.type !== 'stderr') return undefined;
  const text = streamBytes(event.data).toString('utf8').trimEnd();
  const last =
    text
      .slice(text.lastIndexOf('\n') + 1)
      .split('\r')
      .at(-1) ?? '';
  return last === '' ? undefined : plainName(last).slice(0, LINE_CHARACTERS_MAX);
}
