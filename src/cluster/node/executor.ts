import { randomUUID } from 'node:crypto';
import { ERRORS } from '../../contract/error-table.ts';
import { type ContreeError, fault, isFault } from '../../contract/errors.ts';
import { failure, keptSoFar } from '../../engine/operation-end.ts';
import { pause } from '../../std/abort.ts';
import { present } from '../../std/present.ts';
import type { OperationEnd, StoredOperation } from '../../store/operations.ts';
import { CatalogueUploads } from '../catalogue/uploads.ts';
import type { ClaimedOperation } from '../queue/queue.ts';
import type { NodeParts } from './parts.ts';
import type { Publisher } from './publisher.ts';
import { inputsOf, openedEnvelope, startWork, withDigests, type ClusterWork } from './work.ts';

/** Claims of one operation after which a node that cannot prepare it ends it instead of giving it back. */
const TRIES_MAX = 3;
const RETRY_MS = 250;
/** Ends of operations that the engine had, and that may not have begun. */
const WAITS: ReadonlySet<string> = new Set(['ENGINE_STOPPED', 'CLUSTER_UNAVAILABLE']);

/** Executes claimed operations on the own engine. */
export class Executor {
  readonly #parts: NodeParts;
  readonly #publisher: Publisher;

  constructor(parts: NodeParts, publisher: Publisher) {
    this.#parts = parts;
    this.#publisher = publisher;
  }

  /**
   * Executes an operation to its end, or gives it back. `prepared` is called once the engine has it. Never rejects: an
   * operation ends with what went wrong.
   */
  async execute(claim: ClaimedOperation, prepared: () => void, signal: AbortSignal): Promise<void> {
    const { claims, log } = this.#parts;
    try {
      await this.#execute(claim, prepared, signal);
    } catch (error) {
      log.error({ operation: claim.operation, err: error }, 'an operation could not be ended in the catalogue');
    } finally {
      claims.drop(claim);
      prepared();
    }
  }

  async #execute(claim: ClaimedOperation, prepared: () => void, signal: AbortSignal): Promise<void> {
    const { operation: uuid, project } = claim;
    const { queue, secret, engine } = this.#parts;
    const sealed = claim.work ?? (await queue.workOf(claim));
    if (sealed === undefined) return;
    await using pins = new AsyncDisposableStack();
    try {
      const { work, tenant } = openedEnvelope(secret.open(sealed, uuid));
      const ready = await this.#prepare(claim, work, { signal, pins });
      await startWork(engine.forTenant(tenant, { operation: uuid }), ready);
    } catch (error) {
      // A node that leaves has no reason to refuse anything.
      if (signal.aborted && (await queue.giveBack(claim))) return;
      await this.#refuse(claim, error);
      return;
    }
    prepared();
    const { node } = engine;
    await node.ended(uuid);
    const ended = node.operation(project, uuid);
    // What only waited in the engine's queue may be done by another node.
    if (WAITS.has(ended?.errorCode ?? '') && (await queue.giveBack(claim))) return;
    if (ended === undefined) return;
    const isShared = ended.status === 'SUCCESS' || (await this.#end(claim, endOf(ended), uuid));
    // Otherwise the catalogue has another end, which is the one to show.
    if (isShared) node.shared(uuid);
  }

  /** Makes everything available that the operation needs. */
  async #prepare(
    { project, image }: ClaimedOperation,
    work: ClusterWork,
    { signal, pins }: { readonly signal: AbortSignal; readonly pins: AsyncDisposableStack },
  ): Promise<ClusterWork> {
    const { adoption, database } = this.#parts;
    if (image !== null) pins.use(await adoption.known(project, await adoption.find(project, image), signal));
    const { files, states } = inputsOf(work);
    const uploads = new CatalogueUploads(database, project);
    const digests = new Map<string, string>();
    for (const id of new Set(files)) digests.set(id, (await uploads.get(id)).sha256);
    await adoption.files(project, [...digests.values()], signal);
    for (const state of new Set(states)) await adoption.state(project, state, signal);
    return withDigests(work, (id) => digests.get(id) ?? id);
  }

  /** Ends an operation that did not get as far as the engine, or gives it back where another node may do better. */
  async #refuse(claim: ClaimedOperation, error: unknown): Promise<void> {
    const known = this.#known(error);
    const passes = ERRORS[known.code].class === 'unavailable' || known.code === 'DISK_FULL';
    // One that has begun is not given back, which the queue checks.
    if (passes && claim.claims < TRIES_MAX && (await this.#parts.queue.giveBack(claim))) return;
    await this.#end(claim, failure(known));
  }

  /** Writes an end, as long as the node believes in its claim. Returns false when the claim was lost. */
  async #end(claim: ClaimedOperation, end: OperationEnd, logged?: string): Promise<boolean> {
    const { queue, claims } = this.#parts;
    for (;;) {
      try {
        const log = logged === undefined ? undefined : await this.#publisher.log(logged, AbortSignal.timeout(60_000));
        return (await queue.end(claim, { ...end, ...present({ log }) })) !== undefined;
      } catch (error) {
        if (!isFault(error) || !claims.has(claim)) throw error;
        await pause(RETRY_MS);
      }
    }
  }

  #known(error: unknown): ContreeError {
    if (isFault(error)) return error;
    const incident = randomUUID();
    this.#parts.log.error({ incident, err: error }, 'an operation could not be started, by an unexpected error');
    return fault('INTERNAL', { incident }, { cause: error });
  }
}

function endOf(operation: StoredOperation): OperationEnd {
  const { status, error, errorCode } = operation;
  return {
    ...keptSoFar(operation),
    status: status === 'CANCELLED' ? 'CANCELLED' : 'FAILED',
    ...(error !== null && { error }),
    ...(errorCode !== null && { errorCode }),
  };
}
