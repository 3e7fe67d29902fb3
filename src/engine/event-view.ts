import type { EventQuery, OperationEvent } from '../contract/event.ts';
import { streamRepr } from '../contract/stream.ts';
import { oncePer } from '../std/once-per.ts';
import { present } from '../std/present.ts';
import type { StoredEvent } from '../store/events.ts';
import type { ProjectStore } from '../store/project-store.ts';

/**
 * Yields the log of an operation as it is on the wire. Output beyond a process's `truncate_at` is left out unless
 * `full` is set, because clients assemble results from events and expect no more than they asked for. Throws
 * OPERATION_NOT_FOUND immediately, not when the first event is read.
 */
export function operationEvents(
  store: ProjectStore,
  operation: string,
  query: EventQuery,
  signal?: AbortSignal,
): AsyncIterable<OperationEvent> {
  const { uuid } = store.operations.get(operation);
  return shownEvents(store, uuid, query, signal);
}

async function* shownEvents(
  store: ProjectStore,
  uuid: string,
  query: EventQuery,
  signal?: AbortSignal,
): AsyncGenerator<OperationEvent> {
  const shownMax = new Map(store.events.spawns(uuid).map(({ spid, data }) => [spid, data.truncate_at]));
  for await (const event of store.events.read(
    uuid,
    { since: query.since ?? -1, follow: query.follow ?? false },
    signal,
  )) {
    if (event.type === 'spawn') shownMax.set(event.spid, event.data.truncate_at);
    if (query.spid !== undefined && query.spid !== event.spid) continue;
    const shown = wireEvent(event, query.full === true ? Infinity : (shownMax.get(event.spid) ?? Infinity));
    if (shown !== undefined) yield shown;
  }
}

function wireEvent(event: StoredEvent, shownMax: number): OperationEvent | undefined {
  const cut = 'bytes' in event && event.offset + event.bytes.byteLength > shownMax;
  return cut ? makeEvent(event, shownMax) : wholeEvent(event);
}

/** Returns an event that is not cut, made once for all followers of a log, because they read the same stored events. */
const wholeEvent = oncePer((event: StoredEvent) => makeEvent(event, Infinity));

function makeEvent(event: StoredEvent, shownMax: number): OperationEvent | undefined {
  const ts = new Date(event.atMs).toISOString();
  // The end of the operation belongs to no process (contract of the hosted service).
  const stamp = { id: event.id, ts, ...(event.type !== 'completion' && { spid: event.spid }) };
  if (!('bytes' in event)) return { ...stamp, type: event.type, data: event.data } as OperationEvent;
  const shown = event.bytes.subarray(0, Math.max(0, shownMax - event.offset));
  const data = { ...streamRepr(shown), ...present({ progress: event.progress }) };
  return shown.byteLength === 0 ? undefined : { ...stamp, type: event.type, data };
}
