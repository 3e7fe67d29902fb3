import { randomUUID } from 'node:crypto';
import { type ContreeError, fault, isFault } from '../contract/errors.ts';
import { SPID_INIT } from '../contract/event.ts';
import { limits } from '../contract/limits.ts';
import { assert, defined } from '../std/assert.ts';
import { settlesWithin } from '../std/abort.ts';
import { present } from '../std/present.ts';
import type { NewImage } from '../store/images.ts';
import type { NewOperation, OperationEnd, OperationOutcome, StoredOperation } from '../store/operations.ts';
import type { Store } from '../store/store.ts';
import type { EngineLog } from './log.ts';
import { announce } from './node/announce.ts';
import type { Catalogue, SharedIdentity } from './node/catalogue.ts';
import { failure, keptOf, keptSoFar } from './operation-end.ts';
import type { LiveInstance } from './run/live-instance.ts';
import type { Statistics } from './statistics.ts';
import type { ActiveOperation, KeptResult, OperationContext, WorkOrder, WorkResult } from './work.ts';

/** Time after which a cancelled operation becomes CANCELLED even if its sandbox is still ending. */
const CANCEL_MS = 1_500;
/** Longest wait for sandboxes to end when the engine stops. */
const STOP_MS = 5_000;
const RETRY_MS = 1_000;
/** Longest wait for an instance that boots. */
const READY_MS = 5_000;

/** Result with what is noted of its operation. */
interface NotedResult {
  readonly result: WorkResult;
  readonly outcome: OperationOutcome;
}

/**
 * Operations from acceptance to end. Whatever happens to the work, an operation ends exactly once, in one transaction
 * with its `completion` event and with what it publishes.
 *
 * One instance serves all projects. Callers pass the `StoredOperation`, which only its own project's store returns, so
 * projects stay separate.
 */
export class Operations {
  readonly #store: Store;
  readonly #log: EngineLog;
  readonly #statistics: Statistics;
  readonly #catalogue: Catalogue | undefined;
  readonly #active = new Map<string, ActiveOperation>();
  #stopping = false;

  /** With a catalogue, everything is published there first. */
  constructor(store: Store, log: EngineLog, statistics: Statistics, catalogue?: Catalogue) {
    this.#store = store;
    this.#catalogue = catalogue;
    this.#log = log;
    this.#statistics = statistics;
  }

  /** Ends the operations that a crashed engine left unfinished. Called before anything else. */
  recover(): number {
    const left = this.#store.unfinished();
    for (const operation of left) {
      const { uuid, createdAtMs, startedAtMs } = operation;
      const end = { ...failure(fault('ENGINE_STOPPED', { operation: uuid })), ...keptSoFar(operation) };
      this.#store.transaction(() => this.#write(uuid, startedAtMs ?? createdAtMs, end), { essential: true });
    }
    return left.length;
  }

  /**
   * Accepts work and returns the UUID of its operation without waiting for it. Rejects with OPERATION_LIMIT or
   * ENGINE_UNAVAILABLE.
   */
  start(order: WorkOrder): string {
    if (this.#stopping) throw fault('ENGINE_UNAVAILABLE', { reason: 'it is shutting down' });
    if (this.#active.size >= limits.operationsQueuedMax) {
      throw fault('OPERATION_LIMIT', { limit: limits.operationsQueuedMax });
    }
    const { kind, image, token, store, stays = false } = order;
    const uuid = this.#create(order);
    const active: ActiveOperation = {
      uuid,
      kind,
      token,
      image,
      stays,
      store,
      controller: new AbortController(),
      startedAtMs: Date.now(),
      ended: false,
      outcome: {},
      kept: {},
      publishing: Promise.resolve(),
      cost: order.cost,
      instance: undefined,
      up: Promise.withResolvers(),
      done: Promise.resolve(),
    };
    this.#active.set(uuid, active);
    active.done = this.#drive(active, order);
    return uuid;
  }

  /**
   * Creates an operation that has ended already, with the log and the result of an earlier run. Returns its UUID. Rejects
   * with faults of the catalogue.
   */
  async repeat(order: Pick<WorkOrder, 'store' | 'request' | 'uuid'>, earlier: StoredOperation): Promise<string> {
    if (this.#stopping) throw fault('ENGINE_UNAVAILABLE', { reason: 'it is shutting down' });
    const { store, request } = order;
    const { kind, image, resultImage, imageBytes, finishedAtMs } = earlier;
    const age = Math.max(0, Date.now() - (finishedAtMs ?? 0)) / 1_000;
    // Nothing was consumed this time; the log has the resources of the earlier run.
    const outcome = { ...earlier.outcome, resources: undefined, reused: { operation: earlier.uuid, age } };
    const operation = order.uuid ?? randomUUID();
    const place = this.#catalogue && { catalogue: this.#catalogue, store };
    const planned = present({ image: resultImage ?? undefined, imageBytes: imageBytes ?? undefined });
    const { signal } = new AbortController();
    const shared = place && (await announce(place, planned, { kind: 'end', operation, outcome }, signal));
    const uuid = store.transaction(() => {
      const repeated = this.#create({
        ...present({ uuid: order.uuid, image: image ?? undefined }),
        store,
        kind,
        request,
      });
      this.#store.events.copy(earlier.uuid, repeated);
      const end = { status: 'SUCCESS', outcome, ...present({ atMs: shared?.createdAtMs }) } as const;
      this.#write(repeated, Date.now(), { ...end, ...keptOf({ ...present(planned) }) });
      return repeated;
    });
    this.#statistics.ended(kind, 'SUCCESS');
    return uuid;
  }

  /** Returns the operation with its current state. */
  current(stored: StoredOperation): StoredOperation {
    const active = this.#active.get(stored.uuid);
    return active === undefined || active.ended ? stored : { ...stored, outcome: active.outcome };
  }

  /** Cancels the operation without waiting for its end. Rejects with OPERATION_FINISHED. */
  cancel({ uuid, status }: StoredOperation): void {
    const active = this.#active.get(uuid);
    if (active === undefined || active.ended) throw fault('OPERATION_FINISHED', { operation: uuid, status });
    this.#stop(active, fault('OPERATION_CANCELLED', { operation: uuid }));
  }

  /**
   * Returns the running instance of an operation, which gives access to its processes. Waits a while for one that boots,
   * because clients take ASSIGNED to mean that it is about to run. Faults: INSTANCE_NOT_READY, INSTANCE_NOT_RUNNING.
   */
  async instance({ uuid, status, kind }: StoredOperation): Promise<LiveInstance> {
    const active = this.#active.get(uuid);
    if (active !== undefined && status === 'ASSIGNED') await settlesWithin(active.up.promise, READY_MS);
    if (active?.instance !== undefined) return active.instance;
    if (kind === 'instance' && active !== undefined && !active.ended)
      throw fault('INSTANCE_NOT_READY', { operation: uuid });
    throw fault('INSTANCE_NOT_RUNNING', { operation: uuid, status });
  }

  /** Returns the number of queued and running runs of a token; instances that stay are counted apart. */
  runsOf(token: string): number {
    return this.#count((active) => active.kind === 'instance' && !active.stays && active.token === token);
  }

  /** Memory that instances hold or wait for, MiB. */
  get instanceMemoryMib(): number {
    const held = [...this.#active.values()].filter(({ stays }) => stays);
    return held.reduce((sum, { cost }) => sum + (cost['memoryMib'] ?? 0), 0);
  }

  /** Returns the number of instances that stay, open or about to be: of a token, or of a project. */
  instancesOf(of: { readonly token: string } | { readonly project: string }): number {
    return this.#count(
      ({ stays, token, store }) => stays && ('token' in of ? token === of.token : store.project === of.project),
    );
  }

  /** Waits until an operation has ended completely, with its sandbox. */
  async ended(uuid: string): Promise<void> {
    await this.#active.get(uuid)?.done;
  }

  /** Ends an operation that is not ours any more, with the reason. */
  abandon(uuid: string, reason: ContreeError): void {
    const active = this.#active.get(uuid);
    if (active !== undefined && !active.ended) this.#stop(active, reason);
  }

  get activeCount(): number {
    return this.#active.size;
  }

  /** Returns the operation that uses an image now, or has made it and goes on from it, as text for a fault. */
  userOf(image: string): string | undefined {
    for (const { uuid, image: from, kept } of this.#active.values())
      if (from === image || kept.resultImage === image) return `operation ${uuid}`;
    return undefined;
  }

  /** Refuses new work from now on. */
  refuse(): void {
    this.#stopping = true;
  }

  /** Reports whether the instances that are open have ended within that time. */
  async instancesEnded(withinMs: number): Promise<boolean> {
    const ends = [...this.#active.values()]
      .filter(({ stays, instance }) => stays && instance !== undefined)
      .map(({ done }) => done);
    return settlesWithin(Promise.allSettled(ends), withinMs);
  }

  /** Refuses new work, waits for running operations, and ends those left after the grace period with ENGINE_STOPPED. */
  async stop(graceMs: number): Promise<void> {
    this.refuse();
    const all = Promise.allSettled([...this.#active.values()].map(({ done }) => done));
    await settlesWithin(all, graceMs);
    for (const active of this.#active.values()) this.#stop(active, fault('ENGINE_STOPPED', { operation: active.uuid }));
    // A sandbox that does not end is stopped by its driver.
    await settlesWithin(all, STOP_MS);
  }

  #count(fits: (active: ActiveOperation) => boolean): number {
    return [...this.#active.values()].filter(fits).length;
  }

  async #drive(active: ActiveOperation, order: WorkOrder): Promise<void> {
    const { uuid, controller } = active;
    try {
      const queuedAtMs = performance.now();
      const entry = { ...order, project: order.store.project, lasting: active.stays };
      using _place = await order.admission.enter(entry, controller.signal);
      const begins = { project: active.store.project, operation: uuid };
      if (this.#catalogue !== undefined) await this.#catalogue.begin(begins, controller.signal);
      active.startedAtMs = this.#store.operations.assign(uuid);
      const context: OperationContext = {
        uuid,
        signal: controller.signal,
        queuedMs: performance.now() - queuedAtMs,
        note: (outcome) => {
          active.outcome = { ...active.outcome, ...outcome };
        },
        execute: (instance) => {
          if (active.ended) return;
          this.#store.operations.execute(uuid);
          active.instance = instance;
          active.up.resolve();
        },
        keep: (published, outcome) => this.#keep(active, published, outcome),
        share: (image) => this.#share(active, image),
      };
      const result = await order.work(context);
      controller.signal.throwIfAborted();
      if (this.#catalogue === undefined) this.#succeed(active, result);
      else await this.#publishing(active, () => this.#succeedShared(active, result));
    } catch (error) {
      this.#fail(active, controller.signal.aborted ? controller.signal.reason : error);
    } finally {
      active.instance = undefined;
      active.up.resolve();
      this.#active.delete(uuid);
      order.release[Symbol.dispose]();
      this.#log.info({ operation: uuid, kind: order.kind, ms: Date.now() - active.startedAtMs }, 'an operation ended');
    }
  }

  #stop(active: ActiveOperation, reason: ContreeError): void {
    active.controller.abort(reason);
    setTimeout(() => void active.publishing.then(() => this.#fail(active, reason)), CANCEL_MS).unref();
  }

  #create({ uuid, kind, request, image, stays, store }: NewOperation & Pick<WorkOrder, 'store'>): string {
    if (uuid !== undefined) this.#store.events.forget(uuid);
    return store.operations.create(present({ uuid, kind, request, image, stays }));
  }

  /** Runs a publication in the catalogue; nothing else ends the operation until it is over. */
  async #publishing<Value>(active: ActiveOperation, body: () => Promise<Value>): Promise<Value> {
    const done = body();
    active.publishing = done.catch(() => undefined);
    return await done;
  }

  async #share(active: ActiveOperation, image: () => NewImage): Promise<SharedIdentity | undefined> {
    const catalogue = this.#catalogue;
    if (catalogue === undefined) return undefined;
    const { store, controller, uuid: operation } = active;
    return await announce({ catalogue, store }, { image: image() }, { kind: 'step', operation }, controller.signal);
  }

  async #announce(
    { store, controller, uuid: operation }: ActiveOperation,
    kind: 'result' | 'end',
    { result, outcome }: NotedResult,
  ): Promise<SharedIdentity> {
    const catalogue = defined(this.#catalogue, 'there is a catalogue');
    return await announce({ catalogue, store }, result.planned(), { kind, operation, outcome }, controller.signal);
  }

  async #succeedShared(active: ActiveOperation, result: WorkResult): Promise<void> {
    this.#succeed(active, result, await this.#announce(active, 'end', { result, outcome: active.outcome }));
  }

  #succeed(active: ActiveOperation, result: WorkResult, shared?: SharedIdentity): void {
    assert(!active.ended, 'an operation that was not stopped has not ended');
    const published = this.#store.transaction(
      () => {
        const published = result.publish(shared);
        const end = { status: 'SUCCESS', outcome: active.outcome, ...active.kept, ...keptOf(published) } as const;
        this.#write(active.uuid, active.startedAtMs, { ...end, ...present({ atMs: shared?.createdAtMs }) });
        return published.image;
      },
      { durable: result.durable, essential: true },
    );
    active.ended = true;
    this.#statistics.ended(active.kind, 'SUCCESS');
    if (published !== undefined) result.published?.(published);
  }

  async #keep(active: ActiveOperation, result: WorkResult, more: OperationOutcome): Promise<KeptResult> {
    active.controller.signal.throwIfAborted();
    const outcome = { ...active.outcome, ...more };
    if (this.#catalogue === undefined) return this.#record(active, { result, outcome });
    return await this.#publishing(active, async () => {
      const shared = await this.#announce(active, 'result', { result, outcome });
      return this.#record(active, { result, outcome }, shared);
    });
  }

  /** Records a result of an operation that goes on. */
  #record(active: ActiveOperation, { result, outcome }: NotedResult, shared?: SharedIdentity): KeptResult {
    assert(!active.ended, 'only an operation that goes on keeps a result');
    const { uuid } = active;
    const kept = this.#store.transaction(
      () => {
        const published = keptOf(result.publish(shared));
        this.#store.operations.keep(uuid, { ...published, outcome });
        return published;
      },
      { durable: true, essential: true },
    );
    active.kept = kept;
    active.outcome = outcome;
    if (kept.resultImage !== undefined) result.published?.(kept.resultImage);
    return kept;
  }

  #fail(active: ActiveOperation, error: unknown): void {
    if (active.ended) return;
    active.ended = true;
    const end = failure(this.#known(error));
    this.#statistics.ended(active.kind, end.status);
    this.#end(active, { ...end, outcome: active.outcome, ...active.kept });
  }

  /** Retries an end that cannot be written, because the disk is full, until it can. */
  #end(active: ActiveOperation, end: OperationEnd): void {
    try {
      this.#store.transaction(() => this.#write(active.uuid, active.startedAtMs, end), { essential: true });
    } catch (error) {
      this.#log.error({ operation: active.uuid, err: error }, 'the end of an operation could not be written');
      if (!this.#stopping) setTimeout(() => this.#end(active, end), RETRY_MS).unref();
    }
  }

  #write(uuid: string, startedAtMs: number, end: OperationEnd): void {
    const { atMs = Date.now() } = end;
    this.#store.operations.finish(uuid, { ...end, atMs });
    this.#store.events.append(uuid, SPID_INIT, 'completion', {
      status: end.status,
      duration_ms: Math.max(0, atMs - startedAtMs),
      result_image_uuid: end.resultImage ?? null,
      error: end.error ?? null,
      image_size_bytes: end.imageBytes ?? 0,
    });
  }

  /** Returns a fault unchanged. Anything else is a bug, of which only the log gets more than an incident id. */
  #known(error: unknown): ContreeError {
    if (isFault(error)) return error;
    const incident = randomUUID();
    this.#log.error({ incident, err: error }, 'an operation failed with an unexpected error');
    return fault('INTERNAL', { incident }, { cause: error });
  }
}
