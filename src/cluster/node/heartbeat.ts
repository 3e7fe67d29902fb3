import { fault } from '../../contract/errors.ts';
import { failure } from '../../engine/operation-end.ts';
import type { Membership } from '../queue/membership.ts';
import type { Claim } from '../catalogue/transitions.ts';
import type { NodeParts } from './parts.ts';

/** Part of a lease after which it is extended, so that one or two failures do no harm. */
const BEATS_PER_LEASE = 4;

export interface HeartbeatOptions {
  readonly membership: Membership;
  readonly leaseMs: number;
  /** Called when another process has taken the node's name: it must not go on. */
  readonly out: () => void;
}

/**
 * Extends the lease of a node, stops operations that are not its own any more, and takes those of lost nodes from them. The
 * node's time is measured, never read from a clock: it gives up before the catalogue does.
 */
export class Heartbeat implements AsyncDisposable {
  readonly #parts: NodeParts;
  readonly #options: HeartbeatOptions;
  readonly #unknown = new Set<number>();
  #timer: NodeJS.Timeout | undefined;
  #end: NodeJS.Timeout | undefined;
  #beating: Promise<void> = Promise.resolve();
  #lastMs = performance.now();
  #closed = false;

  constructor(parts: NodeParts, options: HeartbeatOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#schedule();
    this.#scheduleEnd();
  }

  /** True while other nodes leave this node what it has. */
  get hasLease(): boolean {
    return performance.now() - this.#lastMs < this.#options.leaseMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#end);
    await this.#beating;
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#beating = this.#beat().finally(() => this.#schedule());
    }, this.#options.leaseMs / BEATS_PER_LEASE);
    // A node is kept running by its server, not by this.
    this.#timer.unref();
  }

  /** Gives everything up when the lease ends, although a request that would extend it may still be waiting for an answer. */
  #scheduleEnd(): void {
    clearTimeout(this.#end);
    if (this.#closed) return;
    const leftMs = this.#lastMs + this.#options.leaseMs - performance.now();
    this.#end = setTimeout(() => {
      for (const claim of this.#parts.claims.all()) this.#lose(claim);
    }, leftMs);
    this.#end.unref();
  }

  async #beat(): Promise<void> {
    const { claims, log } = this.#parts;
    // Before the request: the lease may begin as soon as it is sent.
    const startedMs = performance.now();
    const before = claims.all();
    try {
      const held = await this.#options.membership.beat(this.#parts.adoption.images);
      if (held === undefined) {
        for (const claim of before) this.#lose(claim);
        this.#options.out();
        return;
      }
      this.#lastMs = startedMs;
      this.#scheduleEnd();
      const fences = new Map(held.map(({ operation, fence }) => [operation, fence]));
      for (const claim of before) if (fences.get(claim.operation) !== claim.fence) this.#lose(claim);
      for (const { operation, cancelled } of held) if (cancelled) this.cancel(operation);
      await this.#settleUnknown(held);
      await this.#options.membership.reap();
    } catch (error) {
      log.warn({ err: error }, 'the lease of this node could not be extended');
    }
  }

  /** Cancels an operation of this node; nothing when it has none of that UUID. */
  cancel(operation: string): void {
    if (this.#parts.claims.find(operation) === undefined) return;
    this.#parts.engine.node.stop(operation, fault('OPERATION_CANCELLED', { operation }));
  }

  #lose(claim: Claim): void {
    const { claims, engine } = this.#parts;
    if (!claims.has(claim)) return;
    claims.drop(claim);
    engine.node.stop(claim.operation, fault('LEASE_LOST', { operation: claim.operation }));
  }

  /**
   * Settles claims that nobody here knows of, twice in a row: gives back one whose answer was lost, and ends one that had begun
   * before this node gave it up. While the database was away from all nodes, no other node did.
   */
  async #settleUnknown(held: readonly Claim[]): Promise<void> {
    const { claims, queue, identity } = this.#parts;
    const unknown = held.filter((claim) => !claims.has(claim));
    for (const claim of unknown) {
      if (!this.#unknown.has(claim.fence) || (await queue.giveBack(claim))) continue;
      await queue.end(claim, failure(fault('NODE_LOST', { operation: claim.operation, node: identity.name })));
    }
    this.#unknown.clear();
    for (const { fence } of unknown) this.#unknown.add(fence);
  }
}
