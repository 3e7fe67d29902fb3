import { randomUUID } from 'node:crypto';
import { type ContreeError, fault, isFault } from '../contract/errors.ts';
import { SPID_INIT } from '../contract/event.ts';
import { limits } from '../contract/limits.ts';
import { type OperationKind } from '../contract/operation.ts';
import { assert } from '../std/assert.ts';
import { settlesWithin } from '../std/abort.ts';
import { present } from '../std/present.ts';
import type { OperationEnd, OperationOutcome, StoredOperation } from '../store/operations.ts';
import type { ProjectStore } from '../store/project-store.ts';
import type { Store } from '../store/store.ts';
import type { Admission, Resources } from './admission.ts';
import type { EngineLog } from './log.ts';
import type { LiveInstance } from './run/live-instance.ts';
import type { Statistics } from './statistics.ts';

/** Time after which a cancelled operation becomes CANCELLED even if its sandbox is still ending. */
const CANCEL_MS = 1_500;
/** Longest wait for sandboxes to end when the engine stops. */
const STOP_MS = 5_000;
const RETRY_MS = 1_000;
/** Longest wait for an instance that boots. */
const READY_MS = 5_000;

/** Context in which the work of an operation runs. */
export interface OperationContext {
  readonly uuid: string;
  /** Aborts when the operation is cancelled or the engine stops. */
  readonly signal: AbortSignal;
  /** Milliseconds that the operation was queued. */
  readonly queuedMs: number;
  /** Records facts that must be kept however the operation ends. */
  note(outcome: OperationOutcome): void;
  /** Changes ASSIGNED to EXECUTING; from now on clients can reach `instance`. */
  execute(instance?: LiveInstance): void;
  /**
   * Publishes a result now, durably, with what is to be noted of it. It stays the operation's result however the
   * operation ends, unless a later one replaces it. Rejects with the reason of the signal.
   */
  keep(result: WorkResult, outcome: OperationOutcome): KeptResult;
}

/** Result of an operation that is visible already. */
export type KeptResult = Pick<OperationEnd, 'resultImage' | 'resultTag' | 'imageBytes'>;

/** Result of successful work, published in the transaction that ends the operation. */
export interface WorkResult {
  /** Called within that transaction; makes the image and its tag visible. */
  readonly publish: () => { readonly image?: string; readonly tag?: string; readonly imageBytes?: number };
  /** True if the publication must survive a power failure. */
  readonly durable: boolean;
  /** Told the image once it is visible. */
  readonly published?: (image: string) => void;
}

export interface WorkOrder {
  /** Store of the operation's project. */
  readonly store: ProjectStore;
  /** UUID of the token that requested it, if any. */
  readonly token: string | undefined;
  readonly kind: OperationKind;
  /** Stored request: JSON without secrets. */
  readonly request: string;
  /** Input image, which cannot be deleted while the operation runs. */
  readonly image?: string;
  /** True for an instance that stays until it is closed. */
  readonly stays?: boolean;
  readonly admission: Admission;
  readonly cost: Resources;
  readonly work: (context: OperationContext) => Promise<WorkResult>;
  /** Disposed when the work of the operation has ended completely. */
  readonly release: Disposable;
}

/** Unfinished operation. */
export interface ActiveOperation {
  readonly uuid: string;
  readonly kind: OperationKind;
  readonly token: string | undefined;
  readonly image: string | undefined;
  readonly stays: boolean;
  readonly store: ProjectStore;
  readonly controller: AbortController;
  /** Time at which it left the queue; before that, at which it was accepted. */
  startedAtMs: number;
  ended: boolean;
  outcome: OperationOutcome;
  /** Results that were published so far. */
  kept: KeptResult;
  readonly cost: Resources;
  instance: LiveInstance | undefined;
  /** Settles once the instance is up, or will never be. */
  readonly up: PromiseWithResolvers<void>;
  /** Settles when the work of the operation has ended completely. */
  done: Promise<void>;
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
  readonly #active = new Map<string, ActiveOperation>();
  #stopping = false;

  constructor(store: Store, log: EngineLog, statistics: Statistics) {
    this.#store = store;
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
    const { kind, request, image, token, store, stays = false } = order;
    const uuid = store.operations.create(present({ kind, request, image, stays }));
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
      cost: order.cost,
      instance: undefined,
      up: Promise.withResolvers(),
      done: Promise.resolve(),
    };
    this.#active.set(uuid, active);
    active.done = this.#drive(active, order);
    return uuid;
  }

  /** Creates an operation that has ended already, with the log and the result of an earlier run. Returns its UUID. */
  repeat(order: Pick<WorkOrder, 'store' | 'request'>, earlier: StoredOperation): string {
    if (this.#stopping) throw fault('ENGINE_UNAVAILABLE', { reason: 'it is shutting down' });
    const { kind, image, resultImage, imageBytes, outcome, finishedAtMs } = earlier;
    const age = Math.max(0, Date.now() - (finishedAtMs ?? 0)) / 1_000;
    const uuid = order.store.transaction(() => {
      const repeated = order.store.operations.create({ kind, request: order.request, ...(image && { image }) });
      this.#store.events.copy(earlier.uuid, repeated);
      this.#write(repeated, Date.now(), {
        status: 'SUCCESS',
        // Nothing was consumed this time; the log has the resources of the earlier run.
        outcome: { ...outcome, resources: undefined, reused: { operation: earlier.uuid, age } },
        ...(resultImage !== null && { resultImage }),
        ...(imageBytes !== null && { imageBytes }),
      });
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
      using _place = await order.admission.enter(order.cost, controller.signal);
      this.#store.operations.assign(uuid);
      active.startedAtMs = Date.now();
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
      };
      const result = await order.work(context);
      controller.signal.throwIfAborted();
      this.#succeed(active, result);
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
    setTimeout(() => this.#fail(active, reason), CANCEL_MS).unref();
  }

  #succeed(active: ActiveOperation, result: WorkResult): void {
    assert(!active.ended, 'an operation that was not stopped has not ended');
    const published = this.#store.transaction(
      () => {
        const published = result.publish();
        const end = { status: 'SUCCESS', outcome: active.outcome, ...active.kept, ...keptOf(published) } as const;
        this.#write(active.uuid, active.startedAtMs, end);
        return published.image;
      },
      { durable: result.durable, essential: true },
    );
    active.ended = true;
    this.#statistics.ended(active.kind, 'SUCCESS');
    if (published !== undefined) result.published?.(published);
  }

  #keep(active: ActiveOperation, result: WorkResult, more: OperationOutcome): KeptResult {
    active.controller.signal.throwIfAborted();
    assert(!active.ended, 'only an operation that goes on keeps a result');
    const { uuid } = active;
    const outcome = { ...active.outcome, ...more };
    const kept = this.#store.transaction(
      () => {
        const published = keptOf(result.publish());
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
    this.#record(active, { ...end, outcome: active.outcome, ...active.kept });
  }

  /** Retries an end that cannot be written, because the disk is full, until it can. */
  #record(active: ActiveOperation, end: OperationEnd): void {
    try {
      this.#store.transaction(() => this.#write(active.uuid, active.startedAtMs, end), { essential: true });
    } catch (error) {
      this.#log.error({ operation: active.uuid, err: error }, 'the end of an operation could not be written');
      if (!this.#stopping) setTimeout(() => this.#record(active, end), RETRY_MS).unref();
    }
  }

  #write(uuid: string, startedAtMs: number, end: OperationEnd): void {
    this.#store.operations.finish(uuid, end);
    this.#store.events.append(uuid, SPID_INIT, 'completion', {
      status: end.status,
      duration_ms: Math.max(0, Date.now() - startedAtMs),
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

function failure(error: ContreeError): OperationEnd {
  return {
    status: error.code === 'OPERATION_CANCELLED' ? 'CANCELLED' : 'FAILED',
    error: error.message,
    errorCode: error.code,
  };
}

function keptOf({ image, tag, imageBytes }: ReturnType<WorkResult['publish']>): KeptResult {
  return present({ resultImage: image, resultTag: tag, imageBytes });
}

/** Returns what an operation that was interrupted had published. */
function keptSoFar({ resultImage, resultTag, imageBytes, outcome }: StoredOperation): Omit<OperationEnd, 'status'> {
  if (resultImage === null) return { outcome };
  return { outcome, resultImage, ...(resultTag !== null && { resultTag }), ...(imageBytes !== null && { imageBytes }) };
}
