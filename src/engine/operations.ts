import { randomUUID } from 'node:crypto';
import { type ContreeError, fault, isFault } from '../contract/errors.ts';
import { SPID_INIT } from '../contract/event.ts';
import { limits } from '../contract/limits.ts';
import { isFinished, type OperationKind } from '../contract/operation.ts';
import { assert } from '../std/assert.ts';
import { settlesWithin } from '../std/abort.ts';
import type { OperationEnd, OperationOutcome, StoredOperation } from '../store/operations.ts';
import type { ProjectStore } from '../store/project-store.ts';
import type { Store } from '../store/store.ts';
import type { Admission, Resources } from './admission.ts';
import type { EngineLog } from './log.ts';
import type { LiveInstance } from './run/live-instance.ts';
import type { Statistics } from './statistics.ts';

/** A cancelled operation is CANCELLED after this time even if its sandbox takes longer to go. */
const CANCEL_MS = 1_500;
/** Longest wait for sandboxes to go when the engine stops. */
const STOP_MS = 5_000;
const RETRY_MS = 1_000;

/** Context of the work of an operation. */
export interface OperationContext {
  readonly uuid: string;
  /** Aborts when the operation is cancelled or the engine stops. */
  readonly signal: AbortSignal;
  /** Milliseconds the operation waited for its place. */
  readonly queuedMs: number;
  /** Notes facts that must be kept however the operation ends. */
  note(outcome: OperationOutcome): void;
  /** ASSIGNED → EXECUTING; `instance` can be reached by clients from now on. */
  execute(instance?: LiveInstance): void;
}

/** Result of successful work, published together with its end. */
export interface WorkResult {
  /** Runs inside the transaction that ends the operation; makes the image and its tag visible. */
  readonly publish: () => { readonly image?: string; readonly tag?: string; readonly imageBytes?: number };
  /** True when something is published that must survive a power cut. */
  readonly durable: boolean;
  /** Told the image once it is visible. */
  readonly published?: (image: string) => void;
}

export interface WorkOrder {
  /** Store of the operation's project. */
  readonly store: ProjectStore;
  /** The token that asked for it, if one did. */
  readonly token: string | undefined;
  readonly kind: OperationKind;
  /** Stored request: JSON without secrets. */
  readonly request: string;
  /** Input image, which cannot be deleted meanwhile. */
  readonly image?: string;
  readonly admission: Admission;
  readonly cost: Resources;
  readonly work: (context: OperationContext) => Promise<WorkResult>;
  /** Given back when nothing of the operation is left. */
  readonly release: Disposable;
}

/** An operation that has not ended. */
export interface ActiveOperation {
  readonly uuid: string;
  readonly kind: OperationKind;
  readonly token: string | undefined;
  readonly image: string | undefined;
  readonly controller: AbortController;
  /** When it left the queue; until then when it was accepted. */
  startedAtMs: number;
  ended: boolean;
  outcome: OperationOutcome;
  instance: LiveInstance | undefined;
  /** Settles when nothing of it is left. */
  done: Promise<void>;
}

/**
 * Operations from acceptance to end. Whatever happens to the work, the operation ends exactly once, in one transaction
 * with its `completion` event and with what it publishes.
 *
 * They belong to all projects. Callers pass the `StoredOperation`, which only its own project's store hands out, so
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

  /** Ends what a dead engine left unfinished. Call before anything else. */
  recover(): number {
    const left = this.#store.unfinished();
    for (const { uuid, createdAtMs, startedAtMs } of left) {
      const end = failure(fault('ENGINE_STOPPED', { operation: uuid }));
      this.#store.transaction(() => this.#write(uuid, startedAtMs ?? createdAtMs, end), { essential: true });
    }
    return left.length;
  }

  /** Accepts work; returns the UUID of its operation at once. Rejects with OPERATION_LIMIT or ENGINE_UNAVAILABLE. */
  start(order: WorkOrder): string {
    if (this.#stopping) throw fault('ENGINE_UNAVAILABLE', { reason: 'it is shutting down' });
    if (this.#active.size >= limits.operationsQueuedMax) {
      throw fault('OPERATION_LIMIT', { limit: limits.operationsQueuedMax });
    }
    const { kind, request, image, token } = order;
    const uuid = order.store.operations.create({ kind, request, ...(image !== undefined && { image }) });
    const active: ActiveOperation = {
      uuid,
      kind,
      token,
      image,
      controller: new AbortController(),
      startedAtMs: Date.now(),
      ended: false,
      outcome: {},
      instance: undefined,
      done: Promise.resolve(),
    };
    this.#active.set(uuid, active);
    active.done = this.#drive(active, order);
    return uuid;
  }

  /** The operation with what is known of it while it runs. */
  current(stored: StoredOperation): StoredOperation {
    const active = this.#active.get(stored.uuid);
    return active === undefined || active.ended ? stored : { ...stored, outcome: active.outcome };
  }

  /** Asks the operation to end. Rejects with OPERATION_FINISHED. */
  cancel({ uuid, status }: StoredOperation): void {
    const active = this.#active.get(uuid);
    if (active === undefined || active.ended) throw fault('OPERATION_FINISHED', { operation: uuid, status });
    this.#stop(active, fault('OPERATION_CANCELLED', { operation: uuid }));
  }

  /** The running instance of an operation, for reaching its processes. */
  instance({ uuid, status, kind }: StoredOperation): LiveInstance {
    const instance = this.#active.get(uuid)?.instance;
    if (instance !== undefined && !isFinished(status)) return instance;
    if (kind === 'instance' && !isFinished(status)) throw fault('INSTANCE_NOT_READY', { operation: uuid });
    throw fault('INSTANCE_NOT_RUNNING', { operation: uuid, status });
  }

  /** Runs that a token has waiting or running. */
  runsOf(token: string): number {
    return [...this.#active.values()].filter((active) => active.kind === 'instance' && active.token === token).length;
  }

  get activeCount(): number {
    return this.#active.size;
  }

  /** The operation that uses an image now, as an error names it. */
  userOf(image: string): string | undefined {
    for (const active of this.#active.values()) if (active.image === image) return `operation ${active.uuid}`;
    return undefined;
  }

  /** Accepts nothing more, waits for what runs, and ends what is left after the grace as ENGINE_STOPPED. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const all = Promise.allSettled([...this.#active.values()].map(({ done }) => done));
    await settlesWithin(all, graceMs);
    for (const active of this.#active.values()) this.#stop(active, fault('ENGINE_STOPPED', { operation: active.uuid }));
    // A sandbox that does not go away is its driver's to end.
    await settlesWithin(all, STOP_MS);
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
        },
      };
      const result = await order.work(context);
      controller.signal.throwIfAborted();
      this.#succeed(active, result);
    } catch (error) {
      this.#fail(active, controller.signal.aborted ? controller.signal.reason : error);
    } finally {
      active.instance = undefined;
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
        const { image, tag, imageBytes } = result.publish();
        this.#write(active.uuid, active.startedAtMs, {
          status: 'SUCCESS',
          outcome: active.outcome,
          ...(image !== undefined && { resultImage: image }),
          ...(tag !== undefined && { resultTag: tag }),
          ...(imageBytes !== undefined && { imageBytes }),
        });
        return image;
      },
      { durable: result.durable, essential: true },
    );
    active.ended = true;
    this.#statistics.ended(active.kind, 'SUCCESS');
    if (published !== undefined) result.published?.(published);
  }

  #fail(active: ActiveOperation, error: unknown): void {
    if (active.ended) return;
    active.ended = true;
    const end = failure(this.#known(error));
    this.#statistics.ended(active.kind, end.status);
    this.#record(active, { ...end, outcome: active.outcome });
  }

  /** An end that cannot be written, because the disk refuses even that, is tried again until it can. */
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
      image_size_bytes: end.imageBytes ?? null,
    });
  }

  /** A fault as it is; anything else is a bug, of which only the log learns more than an incident id. */
  #known(error: unknown): ContreeError {
    if (isFault(error)) return error;
    const incident = randomUUID();
    this.#log.error({ incident, err: error }, 'an operation failed for a reason that is no fault');
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
