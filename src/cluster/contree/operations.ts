import type { ConTree } from '../../contract/contree.ts';
import { isFault } from '../../contract/errors.ts';
import type { EventQuery, OperationEvent } from '../../contract/event.ts';
import { isFinished, type OperationResponse } from '../../contract/operation.ts';
import { responseOf, summaryOf } from '../../engine/result.ts';
import type { CatalogueOperation } from '../catalogue/operations.ts';
import { reached, type ClusterContext } from './context.ts';
import { EndWatch } from './end-watch.ts';

/** Time after which an operation is looked at again although nothing was heard of it. */
const LOOK_MS = 1_000;
/** Longest wait for the catalogue to have the end that a node has told. */
const END_MS = 5_000;
const LOOK_FOR_END_MS = 100;

/** Returns the operations group of a project. */
export function clusterOperations(context: ClusterContext): ConTree['operations'] {
  const { operations } = context;
  return {
    list: async (query = {}) => (await operations.list(query)).map(summaryOf),
    get: async (uuid, query, signal) => {
      const operation = await operations.get(uuid);
      const known = await knownOf(context, operation, signal);
      if (known === undefined) return responseOf({ events: NO_EVENTS }, operation, query?.output_bytes);
      try {
        return named(operation, await known.operations.get(operation.uuid, query, signal));
      } catch (error) {
        // Begun, but not with the engine yet.
        if (isFault(error, 'OPERATION_NOT_FOUND')) return responseOf({ events: NO_EVENTS }, operation);
        throw reached(operation, error);
      }
    },
    cancel: async (uuid) => cancel(context, uuid),
    events: (uuid, query = {}, signal) => events(context, uuid, query, signal),
  };
}

/** Log of an operation that has not begun. */
const NO_EVENTS = { ofProcess: () => [] };

/** Returns the ConTree that knows what an operation did so far; undefined for one that has not begun. */
async function knownOf(
  context: ClusterContext,
  operation: CatalogueOperation,
  signal?: AbortSignal,
): Promise<ConTree | undefined> {
  if (isFinished(operation.status)) return await context.ended(operation, signal);
  return operation.startedAtMs === null ? undefined : await context.live(operation);
}

/** Returns the answer with the request as it was accepted: the node that executes it names uploads by their digests. */
function named(operation: CatalogueOperation, answer: OperationResponse): OperationResponse {
  if (!('files' in answer.metadata)) return answer;
  const { files } = JSON.parse(operation.request) as Pick<typeof answer.metadata, 'files'>;
  return { ...answer, metadata: { ...answer.metadata, ...(files && { files }) } };
}

/** Cancels an operation: by its node when that can be reached; otherwise its node finds it in the catalogue. */
async function cancel(context: ClusterContext, uuid: string): Promise<void> {
  const operation = await context.operations.get(uuid);
  if (operation.startedAtMs !== null && !isFinished(operation.status)) {
    try {
      await (await context.live(operation)).operations.cancel(operation.uuid);
      return;
    } catch (error) {
      const isAway = isFault(reached(operation, error), 'NODE_UNREACHABLE');
      if (!isAway && !isFault(error, 'OPERATION_NOT_FOUND')) throw error;
    }
  }
  await context.operations.cancel(operation.uuid);
}

/**
 * Yields the log of an operation: from its node while it runs, from the catalogue once it has ended, nothing while it waits.
 * The end always comes from the catalogue, so that every node knows of it when a client does.
 */
async function* events(
  context: ClusterContext,
  uuid: string,
  query: EventQuery,
  signal?: AbortSignal,
): AsyncGenerator<OperationEvent> {
  let last = query.since ?? -1;
  for (;;) {
    signal?.throwIfAborted();
    const { count } = context.parts.changes;
    const operation = await context.operations.get(uuid);
    if (isFinished(operation.status)) {
      yield* endedEvents(context, operation, { ...query, since: last }, signal);
      return;
    }
    if (operation.startedAtMs !== null) {
      const answer = yield* liveEvents(context, operation, { ...query, since: last }, signal);
      last = answer.last;
      if (answer.isComplete) return;
    }
    if (query.follow !== true) return;
    await context.parts.changes.wait(operation.uuid, { count, ms: LOOK_MS }, signal);
  }
}

async function* endedEvents(
  context: ClusterContext,
  operation: CatalogueOperation,
  query: EventQuery,
  signal?: AbortSignal,
): AsyncGenerator<OperationEvent> {
  const { operations } = await context.ended(operation, signal);
  let isTold = query.spid !== undefined || query.follow !== true;
  for await (const event of operations.events(operation.uuid, query, signal)) {
    yield event;
    isTold ||= event.type === 'completion';
  }
  if (isTold) return;
  // Its log was lost with its node, or is shorter than what was read of it before: the end comes after that.
  for await (const event of operations.events(operation.uuid, {}, signal)) {
    if (event.type === 'completion') yield { ...event, id: Math.max(event.id, (query.since ?? -1) + 1) };
  }
}

interface LiveAnswer {
  readonly last: number;
  /** True when nothing is left to tell. */
  readonly isComplete: boolean;
}

async function* liveEvents(
  context: ClusterContext,
  operation: CatalogueOperation,
  query: EventQuery,
  signal?: AbortSignal,
): AsyncGenerator<OperationEvent, LiveAnswer> {
  let last = query.since ?? -1;
  const { uuid } = operation;
  // The own engine needs no watching.
  using watch = operation.node === context.parts.identity.name ? undefined : new EndWatch(context, uuid);
  const signals = [signal, watch?.signal].filter((one) => one !== undefined);
  try {
    const contree = await context.live(operation);
    for await (const event of contree.operations.events(uuid, query, AbortSignal.any(signals))) {
      if (event.type === 'completion') {
        await untilEnded(context, uuid, signal);
        return { last, isComplete: false };
      }
      yield event;
      last = event.id;
    }
    // All of it so far; or all of one process, of which there is no more once the operation has ended.
    return { last, isComplete: query.follow !== true || query.spid !== undefined };
  } catch (error) {
    signal?.throwIfAborted();
    if (watch?.signal.aborted === true) return { last, isComplete: false };
    const known = reached(operation, error);
    if (!isFault(known, 'NODE_UNREACHABLE', 'OPERATION_NOT_FOUND')) throw error;
    return { last, isComplete: false };
  }
}

/** Waits for a while until the catalogue has the end of an operation. */
async function untilEnded({ operations, parts }: ClusterContext, uuid: string, signal?: AbortSignal): Promise<void> {
  const startedMs = performance.now();
  while (performance.now() - startedMs < END_MS) {
    const { count } = parts.changes;
    if (isFinished((await operations.get(uuid)).status)) return;
    await parts.changes.wait(uuid, { count, ms: LOOK_FOR_END_MS }, signal);
  }
}

/** Returns the processes group of a project. */
export function clusterProcesses(context: ClusterContext): ConTree['processes'] {
  const acting = async <Answer>(uuid: string, act: (processes: ConTree['processes']) => Promise<Answer>) => {
    await context.operations.disturb((await context.operations.get(uuid)).uuid);
    return await context.asked(uuid, ({ processes }) => act(processes));
  };
  return {
    start: async (uuid, spec) => acting(uuid, (processes) => processes.start(uuid, spec)),
    get: async (uuid, spid) => context.asked(uuid, ({ processes }) => processes.get(uuid, spid)),
    kill: async (uuid, spid, options) => acting(uuid, (processes) => processes.kill(uuid, spid, options)),
    write: async (uuid, spid, input) => acting(uuid, (processes) => processes.write(uuid, spid, input)),
    resize: async (uuid, spid, size) => acting(uuid, (processes) => processes.resize(uuid, spid, size)),
  };
}
