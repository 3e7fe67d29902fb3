import { SPID_INIT } from '../../contract/event.ts';
import type { InstanceSnapshot, InstanceTerms } from '../../contract/instance.ts';
import { fault } from '../../contract/errors.ts';
import type { EventStore } from '../../store/events.ts';
import type { Instance } from '../../sandbox/driver.ts';
import type { LiveInstance } from '../run/live-instance.ts';
import { InstanceClock, type TimeUp } from './clock.ts';
import type { LogBudget } from './log-budget.ts';
import { InstancePorts } from './ports.ts';
import type { Snapshots } from './snapshots.ts';

/** End of an instance that stayed. */
export interface InstanceEnd {
  readonly cause: TimeUp | 'closed' | 'engine_stopped';
  /** True to keep its changes as an image. */
  readonly keep: boolean;
  readonly tag?: string | undefined;
}

/** Parts of an open instance. */
export interface OpenInstanceParts {
  /** UUID of its operation. */
  readonly uuid: string;
  readonly live: LiveInstance;
  readonly events: EventStore;
  readonly terms: InstanceTerms;
  readonly disposable: boolean;
  readonly instance: Instance;
  /** Address of the host at which its ports are published. */
  readonly publishAddress: string;
  /** Counts a published port of its project. */
  readonly takePort: () => Disposable;
  readonly snapshots: Snapshots;
  /** Bounds on its log. */
  readonly budget: LogBudget;
}

/** An instance that is open: how long it stays, who uses it, and what ends it. Its owner ends the sandbox. */
export class OpenInstance implements AsyncDisposable {
  readonly uuid: string;
  readonly live: LiveInstance;
  readonly sandbox: string;
  readonly clock: InstanceClock;
  readonly ports: InstancePorts;
  readonly #terms: InstanceTerms;
  readonly #disposable: boolean;
  readonly #snapshots: Snapshots;
  readonly #budget: LogBudget;
  readonly #ended = Promise.withResolvers<InstanceEnd>();
  #end: InstanceEnd | undefined;
  /** Uses other than processes, such as connections to its ports. */
  #uses = 0;

  constructor(parts: OpenInstanceParts) {
    const { uuid, live, events, terms, disposable, instance, publishAddress, takePort, snapshots, budget } = parts;
    this.uuid = uuid;
    this.live = live;
    this.sandbox = instance.facts.sandbox;
    this.#terms = terms;
    this.#disposable = disposable;
    this.#snapshots = snapshots;
    this.#budget = budget;
    this.clock = new InstanceClock(
      { idleSeconds: terms.idle_timeout, lifeSeconds: terms.lifetime },
      {
        warn: (reason, endsAtMs) =>
          events.append(uuid, SPID_INIT, 'ending', { reason, ends_at: new Date(endsAtMs).toISOString() }),
        end: (reason) => this.#finish({ cause: reason, keep: !disposable, tag: terms.tag }),
        busy: () => this.live.running > 0 || this.#uses > 0,
      },
    );
    this.ports = new InstancePorts({
      connect: (port, signal) => instance.connect(port, signal),
      use: () => this.use(),
      take: takePort,
      address: publishAddress,
    });
  }

  /** True when its changes are not kept. */
  get disposable(): boolean {
    return this.#disposable;
  }

  /** Number of ended processes whose events are not kept any more. */
  get forgotten(): number {
    return this.#budget.forgotten;
  }

  /** Resolves when the instance is to end. */
  get ended(): Promise<InstanceEnd> {
    return this.#ended.promise;
  }

  /** Makes an image of it while it goes on. Faults: INSTANCE_NOT_RUNNING when it is about to end, and those of `take`. */
  async snapshot({ tag }: { readonly tag?: string | undefined }): Promise<InstanceSnapshot> {
    if (this.#end !== undefined) throw this.#ending();
    using _use = this.use();
    return await this.#snapshots.take({ tag, automatic: false });
  }

  /** Counts as use until it is disposed. */
  use(): Disposable {
    this.#uses += 1;
    this.clock.used();
    let open = true;
    return {
      [Symbol.dispose]: () => {
        if (!open) return;
        open = false;
        this.#uses -= 1;
        this.clock.used();
      },
    };
  }

  /**
   * Asks the instance to end. It may be asked again, for nothing else than before. Faults:
   * INSTANCE_NOT_RUNNING.
   */
  close({
    keep = !this.#disposable,
    tag = this.#terms.tag,
  }: {
    keep?: boolean | undefined;
    tag?: string | undefined;
  }): void {
    const end = this.#end;
    if (end !== undefined && (end.keep !== keep || end.tag !== tag)) {
      throw this.#ending();
    }
    this.#finish({ cause: 'closed', keep, tag });
  }

  /** Ends the instance because the engine stops. */
  leave(): void {
    this.#finish({ cause: 'engine_stopped', keep: !this.#disposable, tag: this.#terms.tag });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.clock[Symbol.dispose]();
    await this.ports[Symbol.asyncDispose]();
  }

  #ending(): Error {
    return fault('INSTANCE_NOT_RUNNING', { operation: this.uuid, status: 'ending' });
  }

  #finish(end: InstanceEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.clock[Symbol.dispose]();
    this.#ended.resolve(end);
  }
}
