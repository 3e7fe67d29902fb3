import type { OperationEvent } from '../../contract/event.ts';
import { isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { endsSource } from '../../std/streams.ts';
import { oncePer } from '../../std/once-per.ts';
import { settlesWithin } from '../../std/abort.ts';
import { Turns } from '../../std/event-loop.ts';

/** Time for a log to fail before the answer starts as a stream. */
const FIRST_EVENT_MS = 50;
/** Size above which encoding an event takes milliseconds. */
const LARGE_BYTES = 8 * 1024;

/** Size of a piece: large enough for the frame of any text event. */
const PIECE_BYTES = 96 * 1024;

/** Turns that all streams of this process share. */
const turns = new Turns();

/**
 * Encodes the events of an operation as server-sent events, as the hosted service does. A fault that occurs immediately
 * is thrown, so that it becomes a status. Later ones end the stream with `sse_error`, after which clients resume from
 * the last id. Comments keep an idle connection alive. `onError` is called with the error that ended the stream.
 */
export async function eventStream(
  events: AsyncIterable<OperationEvent>,
  onError: (error: unknown) => void,
  keepaliveMs: number = limits.eventKeepaliveMs,
): Promise<AsyncIterable<Uint8Array>> {
  const iterator = events[Symbol.asyncIterator]();
  const first = iterator.next();
  try {
    if (await settlesWithin(first, FIRST_EVENT_MS)) await first;
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
  return endsSource(frames(iterator, first, { onError, keepaliveMs }), iterator);
}

async function* frames(
  iterator: AsyncIterator<OperationEvent>,
  first: Promise<IteratorResult<OperationEvent>>,
  { onError, keepaliveMs }: { readonly onError: (error: unknown) => void; readonly keepaliveMs: number },
): AsyncGenerator<Uint8Array> {
  let next = first;
  try {
    for (;;) {
      yield* keepalives(next, keepaliveMs);
      const { done, value } = await next;
      if (done) return;
      const bytes = frame(value);
      yield* pieces(bytes);
      // Many readers of large logs must not delay those who ask for little.
      if (bytes.byteLength > LARGE_BYTES) await turns.take();
      next = iterator.next();
    }
  } catch (error) {
    onError(error);
    const reason = isFault(error) ? error.message : 'the stream was interrupted';
    const text = reason.replaceAll(/[\r\n]+/gu, ' ');
    yield Buffer.from(`: stream ended with error, retry since last event id\nevent: sse_error\ndata: ${text}\n\n`);
  } finally {
    // A reader that disconnected while we waited must not leave an unhandled rejection.
    next.catch(() => undefined);
    await iterator.return?.();
  }
}

/** Yields comments until `next` settles. */
async function* keepalives(next: Promise<unknown>, keepaliveMs: number): AsyncGenerator<Uint8Array> {
  while (!(await settlesWithin(next, keepaliveMs))) yield Buffer.from(': keepalive\n\n');
}

/**
 * Yields a frame in pieces. For a reader that does not read, only one frame is held in memory, not the next one too.
 */
function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/** Returns the frame of an event, encoded once for all followers of a log. */
const frame = oncePer((event: OperationEvent): Uint8Array =>
  Buffer.from(`id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`),
);
