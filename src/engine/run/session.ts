import { untilAborted } from '../../std/abort.ts';
import { isFault } from '../../contract/errors.ts';
import { SPID_INIT } from '../../contract/event.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import type { BootSpec, Instance, NetworkUse, SandboxDriver } from '../../sandbox/driver.ts';
import type { StoredImage } from '../../store/images.ts';
import type { Layer } from '../../store/layers.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import type { Compactor } from '../compaction.ts';
import type { OperationContext } from '../work.ts';
import type { Statistics } from '../statistics.ts';
import { Steps } from '../steps.ts';
import { commitChanges } from './commit.ts';
import type { Injector } from './inject.ts';
import type { InjectedSet } from './injected-set.ts';
import { LiveInstance } from './live-instance.ts';

/**
 * A layer takes a little more space than the same files on the guest's disk; only much more (a sparse file) is refused.
 */
const LAYER_OVERHEAD_BYTES = 16 * 1024 * 1024;

export interface RunPlace {
  readonly store: ProjectStore;
  readonly driver: SandboxDriver;
  readonly readers: ReaderPool;
  readonly injector: Injector;
  readonly compactor: Compactor;
  readonly statistics: Statistics;
}

/** Image and sandbox of an operation. The image was resolved on acceptance, because the tag may move. */
export interface SessionStart {
  readonly image: StoredImage;
  readonly boot: Omit<BootSpec, 'layers'>;
  /** Files to inject into the image. */
  readonly injected: InjectedSet | undefined;
  /** Number of the first process. */
  readonly firstSpid: number;
}

/** Work of an operation in its sandbox once that is up. */
export type SessionBody<Value> = (session: Session) => Promise<Value>;

/** Layers of the image and of the injected files, bottom first. */
interface Lower {
  readonly digests: readonly string[];
  readonly files: readonly LayerFile[];
  /** Layer of injected files; undefined when there are none. */
  readonly injected: Layer | undefined;
}

/**
 * The sandbox of one operation, of a run or of an instance that stays: started over an image, its processes in the log
 * of the operation, its changes a layer. It has ended when `inSession` returns.
 */
export class Session {
  readonly live: LiveInstance;
  readonly instance: Instance;
  readonly lower: Lower;
  readonly #place: RunPlace;
  readonly #start: SessionStart;
  readonly #context: OperationContext;
  readonly #steps: Steps;

  constructor(
    { place, start, context, steps }: SessionParts,
    { instance, lower }: Pick<Session, 'instance' | 'lower'>,
  ) {
    this.instance = instance;
    this.lower = lower;
    this.#place = place;
    this.#start = start;
    this.#context = context;
    this.#steps = steps;
    const { events } = place.store;
    const { firstSpid } = start;
    this.live = new LiveInstance({ events, operation: context.uuid, instance, firstSpid }, context.signal);
  }

  /** Attributes the time since the last mark to this step of the operation. */
  mark(step: string): void {
    this.#steps.mark(step);
  }

  /** Returns the result of a promise. Rejects when the guest is lost or the operation ends before it settles. */
  async whileUp<Value>(promise: Promise<Value>): Promise<Value> {
    const lost = async (): Promise<never> => {
      throw await this.instance.lost;
    };
    return untilAborted(Promise.race([promise, lost()]), this.#context.signal);
  }

  /** Stores the changes over these layers as a layer; undefined when there are none. Ends every process. */
  async commit(lower: readonly LayerFile[]): Promise<Layer | undefined> {
    return await this.store(this.instance.changes(this.#context.signal), lower);
  }

  /** Stores changes that the driver streams as a layer; undefined when there are none. */
  async store(changes: AsyncIterable<Uint8Array>, lower: readonly LayerFile[]): Promise<Layer | undefined> {
    const { store, readers } = this.#place;
    const { diskBytes } = this.#start.boot;
    const bytesMax = diskBytes + LAYER_OVERHEAD_BYTES;
    try {
      return await commitChanges(changes, { store, readers, lower, bytesMax }, this.#context.signal);
    } catch (error) {
      if (isFault(error, 'LAYER_BYTES_EXCEEDED')) {
        const limit = { limit_bytes: diskBytes, file_size: bytesMax };
        store.events.append(this.#context.uuid, SPID_INIT, 'size_cap', limit);
      }
      throw error;
    } finally {
      this.#steps.mark('commit');
    }
  }

  /** Records the start of the guest. */
  begin(): void {
    this.#steps.markParts('boot', this.instance.facts.stepsMs);
    this.#place.store.events.append(this.#context.uuid, SPID_INIT, 'init', {
      started_at: new Date().toISOString(),
      runtime_path: '/init',
      verbose: false,
      init_pid: 1,
      hostname: this.#start.boot.hostname,
      kernel: this.instance.facts.kernel,
      boot_id: this.instance.facts.bootId,
    });
  }

  /** Ends the sandbox, and records where and how long it ran. */
  async end(): Promise<void> {
    await this.instance[Symbol.asyncDispose]();
    this.#steps.mark('teardown');
    this.#place.statistics.ran(this.#steps.ms);
    const { facts } = this.instance;
    const use = this.instance.networkUse();
    if (this.#start.boot.network.mode !== 'none') this.#logNetwork(use);
    this.#context.note({
      execution: {
        sandbox: facts.sandbox,
        accelerator: facts.accelerator,
        jail: { parts: [...facts.jail.parts], missing: [...facts.jail.missing] },
        steps_ms: this.#steps.ms,
        network: { rx_bytes: use.rxBytes, tx_bytes: use.txBytes, dropped: use.dropped },
      },
    });
  }

  #logNetwork(use: NetworkUse): void {
    const interfaces = [
      {
        name: 'eth0',
        rx_bytes: use.rxBytes,
        rx_packets: use.rxPackets,
        rx_errs: 0,
        rx_drop: 0,
        tx_bytes: use.txBytes,
        tx_packets: use.txPackets,
        tx_errs: 0,
        tx_drop: use.dropped,
      },
    ];
    this.#place.store.events.append(this.#context.uuid, SPID_INIT, 'network', { interfaces });
  }
}

interface SessionParts {
  readonly place: RunPlace;
  readonly start: SessionStart;
  readonly context: OperationContext;
  readonly steps: Steps;
}

/** Starts a sandbox, calls `body`, and ends the sandbox whatever happens. */
export async function inSession<Value>(
  place: RunPlace,
  start: SessionStart,
  context: OperationContext,
  body: SessionBody<Value>,
): Promise<Value> {
  const parts: SessionParts = { place, start, context, steps: new Steps({ queue: context.queuedMs }) };
  const lower = await prepare(parts);
  parts.steps.mark('prepare');
  const instance = await place.driver.start({ ...start.boot, layers: lower.files }, context.signal);
  const session = new Session(parts, { instance, lower });
  try {
    session.begin();
    return await body(session);
  } finally {
    await session.end();
  }
}

/** Returns the layers to start on, with one for the injected files. */
async function prepare({ place, start, context }: SessionParts): Promise<Lower> {
  const { store, compactor, injector } = place;
  const digests = await compactor.mountable(start.image.uuid, context.signal);
  const files = await store.layers.files(digests);
  if (start.injected === undefined) return { digests, files, injected: undefined };
  const layer = await injector.layer({ store, set: start.injected, lower: files }, context.signal);
  if (layer.digest === digests.at(-1)) return { digests, files, injected: undefined };
  const all = [...digests, layer.digest];
  return { digests: all, files: [...files, await store.layers.file(layer.digest)], injected: layer };
}
