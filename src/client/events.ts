import { createParser } from 'eventsource-parser';
import { API } from '../contract/api/index.ts';
import { fault, isFault } from '../contract/errors.ts';
import type { EventQuery, OperationEvent } from '../contract/event.ts';
import type { OperationResponse } from '../contract/operation.ts';
import { isFinished, OPERATION_STATUSES } from '../contract/operation-state.ts';
import type { Requester } from './requester.ts';
import { pause } from '../std/abort.ts';
import type { ServerAnswer } from './transport.ts';

const SILENCE_MS_MAX = 60_000;
/** Size limit of an event. Ours have a few hundred KB; the hosted service's clients allow 4 MiB. */
const EVENT_CHARACTERS_MAX = 8 * 1024 * 1024;
const RECONNECT_MS = 500;
/** Delay after a connection that delivered events. Not 0, because a server may end each connection after one event. */
const RESUME_MS = 50;
const POLL_MS = 1_000;

/** Part of the client that following needs. */
export interface EventSource {
  readonly requester: Requester;
  /** Returns the state of an operation, without its output. */
  getOperation(operation: string, signal?: AbortSignal): Promise<OperationResponse>;
}

/**
 * Follows or replays a log across broken connections (contract of the hosted service). After every end other than a
 * `completion`, the operation's status decides whether to reconnect after the last id or to stop. If the server keeps
 * no log for this operation, it is polled, and the completion is made from its status.
 */
export async function* followEvents(
  source: EventSource,
  operation: string,
  query: EventQuery,
  signal?: AbortSignal,
): AsyncGenerator<OperationEvent> {
  const log = new RemoteLog(source.requester, operation, query);
  for (;;) {
    const before = log.last;
    let waitMs = RECONNECT_MS;
    try {
      yield* log.read({ follow: query.follow ?? false }, signal);
      if (log.completed || !query.follow) return;
    } catch (error) {
      signal?.throwIfAborted();
      if (!query.follow || !(isPassing(error) || isLogless(error))) throw error;
      if (isLogless(error)) waitMs = POLL_MS;
    }
    const response = await source.getOperation(operation, signal);
    if (isFinished(response.status)) {
      yield* theRest(log, response, signal);
      return;
    }
    if (!OPERATION_STATUSES.includes(response.status)) {
      throw fault('REMOTE_FAILED', { status: 200, reason: 'an operation without a status' });
    }
    await pause(log.last > before ? RESUME_MS : waitMs, signal);
  }
}

/** Yields the remaining events of a finished operation, and a completion even if its log has none. */
async function* theRest(
  log: RemoteLog,
  response: OperationResponse,
  signal: AbortSignal | undefined,
): AsyncGenerator<OperationEvent> {
  try {
    yield* log.read({ follow: false }, signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (!isPassing(error) && !isLogless(error)) throw error;
  }
  if (!log.completed && (log.spid ?? 0) === 0) yield completionOf(response, log.last + 1);
}

function completionOf(response: OperationResponse, id: number): OperationEvent {
  const { status, error, duration, result_image_uuid, image_size: image_size_bytes } = response;
  const data = { error, result_image_uuid, image_size_bytes, duration_ms: Math.round(duration * 1000) };
  const ended = status === 'SUCCESS' || status === 'CANCELLED' ? status : 'FAILED';
  return { id, ts: new Date().toISOString(), spid: 0, type: 'completion', data: { ...data, status: ended } };
}

/**
 * Reports whether reconnecting can help: the connection was lost, the stream was interrupted, or the server is busy.
 */
function isPassing(error: unknown): boolean {
  return !isFault(error) || isFault(error, 'REMOTE_FAILED', 'ENGINE_UNAVAILABLE', 'INSTANCE_NOT_READY');
}

/** Reports whether the server has no such route for this operation, as the hosted service has none for imports. */
function isLogless(error: unknown): boolean {
  return isFault(error, 'OPERATION_NOT_FOUND', 'ROUTE_NOT_FOUND', 'ARGUMENT_INVALID');
}

/** A log on a server, with the position up to which it has been read. */
class RemoteLog {
  readonly #requester: Requester;
  readonly #operation: string;
  readonly spid: number | undefined;
  readonly #full: boolean | undefined;
  /** Largest id read so far. */
  last: number;
  completed = false;

  constructor(requester: Requester, operation: string, { spid, since, full }: EventQuery) {
    this.#requester = requester;
    this.#operation = operation;
    this.spid = spid;
    this.#full = full;
    this.last = since ?? -1;
  }

  /** Yields the events of one connection after `last`. */
  async *read(
    { follow }: { readonly follow: boolean },
    signal: AbortSignal | undefined,
  ): AsyncGenerator<OperationEvent> {
    const answer = await this.#open({ follow }, signal);
    for await (const data of messages(answer)) {
      const event = (await this.#requester.check('OperationEvent', parse(data))) as OperationEvent;
      if (event.id <= this.last) continue;
      this.last = event.id;
      this.completed = event.type === 'completion';
      yield event;
      if (this.completed) return;
    }
  }

  #open({ follow }: { readonly follow: boolean }, signal: AbortSignal | undefined): Promise<ServerAnswer> {
    const resume = this.last >= 0 ? { 'Last-Event-Id': String(this.last) } : {};
    const request = {
      method: API.operations.events.method,
      path: API.operations.events.path.replace('{operationId}', encodeURIComponent(this.#operation)),
      query: { follow, spid: this.spid, since: this.last, full: this.#full },
      headers: { Accept: 'text/event-stream', ...resume },
    } as const;
    return this.#requester.open(request, { kind: 'operation', operation: this.#operation }, signal);
  }
}

/** Yields the data of the server-sent events of an answer. */
async function* messages(answer: ServerAnswer): AsyncGenerator<string> {
  // Keepalives are sent four times as often, so silence means that the peer is gone.
  answer.setTimeout(SILENCE_MS_MAX, () => answer.destroy(new Error('the event stream went silent')));
  const queue: { event?: string | undefined; data: string }[] = [];
  const parser = createParser({
    maxBufferSize: EVENT_CHARACTERS_MAX,
    onEvent: (event) => queue.push(event),
    onError: (error) => error.type === 'max-buffer-size-exceeded' && answer.destroy(error),
  });
  const decoder = new TextDecoder();
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    parser.feed(decoder.decode(chunk, { stream: true }));
    for (const { event, data } of queue.splice(0)) {
      if (event === 'sse_error') throw fault('REMOTE_FAILED', { status: 200, reason: data });
      yield data;
    }
  }
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (error) {
    throw fault('REMOTE_FAILED', { status: 200, reason: 'an event that is not JSON' }, { cause: error });
  }
}
