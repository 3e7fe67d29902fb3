import { isFault } from '../../contract/errors.ts';
import { SPID_INIT } from '../../contract/event.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import type { Instance, NetworkUse, SandboxDriver } from '../../sandbox/driver.ts';
import type { StoredImage } from '../../store/images.ts';
import type { Layer } from '../../store/layers.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { type Account, readAccount } from '../../images/inspect/owners.ts';
import { Tree } from '../../layers/tree.ts';
import { commitChanges } from './commit.ts';
import type { Compactor } from '../compaction.ts';
import { exitEvent, exitResources, exitState } from './exit-event.ts';
import type { Injector } from './inject.ts';
import type { InjectedSet } from './injected-set.ts';
import { LiveInstance, type ProcessExit } from './live-instance.ts';
import type { OperationContext, WorkResult } from '../operations.ts';
import type { RunPlan } from './plan.ts';
import type { Statistics } from '../statistics.ts';
import { Steps } from '../steps.ts';
import { untilAborted } from '../../std/abort.ts';

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

/** Accepted run. Its image was resolved on acceptance, because the tag may move. */
export interface Run {
  readonly image: StoredImage;
  readonly plan: RunPlan;
  /** Files to inject into the image. */
  readonly injected: InjectedSet | undefined;
  /** Command as shown in the lineage. */
  readonly command: string;
}

/**
 * Runs a command in a new instance of an image and stores its changes as a layer. The instance has ended when this
 * returns. Only the caller publishes the result image, so no visible image ever changes.
 */
export async function executeRun(place: RunPlace, run: Run, context: OperationContext): Promise<WorkResult> {
  return new Execution(place, run, context).execute();
}

class Execution {
  readonly #place: RunPlace;
  readonly #run: Run;
  readonly #context: OperationContext;
  readonly #steps: Steps;

  constructor(place: RunPlace, run: Run, context: OperationContext) {
    this.#place = place;
    this.#run = run;
    this.#context = context;
    this.#steps = new Steps({ queue: context.queuedMs });
  }

  async execute(): Promise<WorkResult> {
    const { store } = this.#place;
    const layers = await this.#place.compactor.mountable(this.#run.image.uuid, this.#context.signal);
    const lower = await store.layers.files(layers);
    const injected = await this.#inject(layers, lower);
    if (injected !== undefined) lower.push(await store.layers.file(injected.digest));
    this.#steps.mark('prepare');
    const { ended, committed } = await this.#inInstance(lower);
    store.events.append(this.#context.uuid, SPID_INIT, 'shutdown', {
      stopped_at: new Date().toISOString(),
      reason: shutdownReason(ended),
    });
    const added = [injected, committed].filter((layer) => layer !== undefined);
    return this.#publication({ added, exitCode: ended.outcome.exitCode });
  }

  /** Returns the layer of injected files; undefined when there are none. */
  async #inject(layers: readonly string[], lower: readonly LayerFile[]): Promise<Layer | undefined> {
    const { injected } = this.#run;
    if (injected === undefined) return undefined;
    const layer = await this.#place.injector.layer(
      { store: this.#place.store, set: injected, lower },
      this.#context.signal,
    );
    return layer.digest === layers.at(-1) ? undefined : layer;
  }

  /** Runs the instance, from its start to its teardown. */
  async #inInstance(
    lower: readonly LayerFile[],
  ): Promise<{ readonly ended: ProcessExit; readonly committed: Layer | undefined }> {
    const { boot, disposable } = this.#run.plan;
    const instance = await this.#place.driver.start({ ...boot, layers: lower }, this.#context.signal);
    try {
      this.#steps.markParts('boot', instance.facts.stepsMs);
      const ended = await this.#command(instance, lower);
      this.#steps.mark('exec');
      const committed = disposable ? undefined : await this.#commit(instance, lower);
      return { ended, committed };
    } finally {
      await instance[Symbol.asyncDispose]();
      this.#steps.mark('teardown');
      this.#place.statistics.ran(this.#steps.ms);
      this.#report(instance);
    }
  }

  async #command(instance: Instance, lower: readonly LayerFile[]): Promise<ProcessExit> {
    const { uuid, signal } = this.#context;
    const { events } = this.#place.store;
    events.append(uuid, SPID_INIT, 'init', {
      started_at: new Date().toISOString(),
      runtime_path: '/init',
      verbose: false,
      init_pid: 1,
      hostname: this.#run.plan.boot.hostname,
      kernel: instance.facts.kernel,
      boot_id: instance.facts.bootId,
    });
    const accounts = async (uid: number): Promise<Account | undefined> => {
      await using tree = await Tree.open(lower, this.#place.readers);
      return await readAccount(tree, uid);
    };
    const live = new LiveInstance({ events, operation: uuid, instance, accounts }, signal);
    const main = await live.start(this.#run.plan.launch);
    this.#context.execute(live);
    const ended = await untilAborted(Promise.race([main.ended, lost(instance)]), signal);
    const exit = exitEvent(ended.pid, ended.outcome, ended.timedOut);
    this.#context.note({ state: exitState(exit), resources: exitResources(exit) });
    await live.close();
    return ended;
  }

  async #commit(instance: Instance, lower: readonly LayerFile[]): Promise<Layer | undefined> {
    const { store, readers } = this.#place;
    const { diskBytes } = this.#run.plan.boot;
    const bytesMax = diskBytes + LAYER_OVERHEAD_BYTES;
    try {
      return await commitChanges(instance, { store, readers, lower, bytesMax }, this.#context.signal);
    } catch (error) {
      if (isFault(error, 'LAYER_BYTES_EXCEEDED')) {
        store.events.append(this.#context.uuid, SPID_INIT, 'size_cap', { limit_bytes: diskBytes, file_size: bytesMax });
      }
      throw error;
    } finally {
      this.#steps.mark('commit');
    }
  }

  #report(instance: Instance): void {
    const { facts } = instance;
    const use = instance.networkUse();
    if (this.#run.plan.boot.network.mode !== 'none') this.#logNetwork(use);
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

  /** Returns what becomes visible at the end; nothing can fail any more. */
  #publication({ added, exitCode }: Addition): WorkResult {
    const { image, plan, command } = this.#run;
    const { store, compactor } = this.#place;
    if (plan.disposable) return { publish: () => ({}), durable: false };
    const sameConfig = JSON.stringify(plan.config) === JSON.stringify(image.config);
    if (added.length === 0 && sameConfig) return { publish: () => ({ image: image.uuid }), durable: false };
    const layerBytes = added.reduce((sum, { bytes }) => sum + bytes, 0);
    const result = {
      config: plan.config,
      parent: image.uuid,
      operation: this.#context.uuid,
      command,
      exitCode,
      layerBytes,
    };
    const publish = (): { image: string; imageBytes: number } => {
      // The image's current layers: they may have been merged during the run, which does not change the content.
      const layers = [...store.images.get(image.uuid).layers, ...added.map(({ digest }) => digest)];
      const { uuid } = store.images.create({ ...result, layers });
      return { image: uuid, imageBytes: layerBytes };
    };
    return { publish, durable: true, published: (uuid) => compactor.schedule(uuid) };
  }
}

/** The hosted contract's word for why the instance goes away. */
function shutdownReason({ timedOut, outcome }: ProcessExit): 'timeout' | 'signal' | 'job_complete' {
  if (timedOut) return 'timeout';
  return outcome.signal > 0 ? 'signal' : 'job_complete';
}

/** Layer that a run adds to its image. */
interface Addition {
  readonly added: readonly Layer[];
  readonly exitCode: number;
}

/** Rejects when the guest ends unexpectedly. */
async function lost(instance: Instance): Promise<never> {
  throw await instance.lost;
}
