import type { EventQuery, OperationEvent } from '../contract/event.ts';
import { streamRepr } from '../contract/stream.ts';
import { oncePer } from '../std/once-per.ts';
import { present } from '../std/present.ts';
import type { StoredEvent } from '../store/log/event-rows.ts';
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
  const { since = -1, follow = false, full = false, spid } = query;
  const limits = new ShownLimits(store, uuid);
  for await (const event of store.events.read(uuid, { since, follow, spid }, signal)) {
    const shown = wireEvent(event, full ? Infinity : limits.of(event));
    if (shown !== undefined) yield shown;
  }
}

/** Output limits of the processes in a log, each looked up when its first output is shown and forgotten when it has ended. */
class ShownLimits {
  readonly #store: ProjectStore;
  readonly #operation: string;
  readonly #known = new Map<number, number>();

  constructor(store: ProjectStore, operation: string) {
    this.#store = store;
    this.#operation = operation;
  }

  /** Returns how many bytes of the stream of an event are shown. */
  of(event: StoredEvent): number {
    if (event.type === 'exit') this.#known.delete(event.spid);
    if (!('bytes' in event)) return Infinity;
    const { spid } = event;
    const shown = this.#known.get(spid) ?? this.#store.events.spawnOf(this.#operation, spid)?.data.truncate_at;
    this.#known.set(spid, shown ?? Infinity);
    return shown ?? Infinity;
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
