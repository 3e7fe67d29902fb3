import type { Duplex } from 'node:stream';
import { DEFAULT_PROJECT } from '../contract/names.ts';
import type { ConTree, ContreeServer } from '../contract/contree.ts';
import { limits } from '../contract/limits.ts';
import type { Quota } from '../contract/server.ts';
import { ReaderPool } from '../erofs/reader-pool.ts';
import type { SandboxDriver } from '../sandbox/driver.ts';
import type { Store } from '../store/store.ts';
import { Admission } from './admission.ts';
import { runCapacity, runCost } from './capacity.ts';
import { Compactor } from './compaction.ts';
import { Housekeeping, type HousekeepingPolicy } from './housekeeping.ts';
import { ImageTrees } from './image-trees.ts';
import type { Downloader } from '../images/import/download.ts';
import type { Importer } from '../images/import/importer.ts';
import { Instances } from './instance/instances.ts';
import { DEFAULT_POLICY, type InstancePolicy } from './instance/policy.ts';
import { Injector } from './run/inject.ts';
import { SILENT_LOG, type EngineLog } from './log.ts';
import type { Catalogue } from './node/catalogue.ts';
import { EngineNode } from './node/node.ts';
import { Operations } from './operations.ts';
import { projectsOf } from './quota/projects.ts';
import { Quotas } from './quota/quotas.ts';
import { type EngineParts, ProjectContext } from './project/context.ts';
import { connectToPort, type PortOfInstance } from './project/instances.ts';
import { projectContree } from './project/project.ts';
import type { Bounds, Tenant } from './project/tenant.ts';
import type { Pusher } from '../images/export/push.ts';
import { queueLength, Statistics, type QueueLength } from './statistics.ts';
import { Threads } from './workers/threads.ts';

export interface EngineOptions {
  readonly store: Store;
  readonly driver: SandboxDriver;
  readonly importer: Importer;
  readonly pusher: Pusher;
  /** Downloads what ADD names; absent where builds cannot. */
  readonly download?: Downloader;
  /** File of the guest agent, for builds that are lent SSH agents. */
  readonly guestAgent?: string;
  /** Version of the product, for doctor. */
  readonly version: string;
  /** Number of concurrent runs; 0 (default) derives it from cores and memory. */
  readonly concurrency?: number;
  /** Quota of projects that have none of their own; default none. */
  readonly quota?: Quota;
  /** Policy of automatic collection; absent for none. */
  readonly housekeeping?: HousekeepingPolicy;
  /** Terms of instances that stay; those that are left out are the usual ones. */
  readonly instancePolicy?: Partial<InstancePolicy>;
  /** Address of the host at which ports of instances are published; default loopback. */
  readonly publishAddress?: string;
  /** Catalogue of the cluster that this engine is a node of; absent for an engine by itself. */
  readonly catalogue?: Catalogue;
  readonly log?: EngineLog;
}

/**
 * The product: operations on a store with a sandbox driver. The caller opens store and driver before it and disposes
 * them after it. The engine itself is the view of the default project; `forTenant` returns any.
 */
export class Engine implements ConTree {
  readonly #parts: EngineParts;
  /** The engine as a node of a cluster. */
  readonly node: EngineNode;
  #stopping = false;
  readonly images: ConTree['images'];
  readonly tags: ConTree['tags'];
  readonly files: ConTree['files'];
  readonly uploads: ConTree['uploads'];
  readonly runs: ConTree['runs'];
  readonly instances: ConTree['instances'];
  readonly operations: ConTree['operations'];
  readonly processes: ConTree['processes'];
  readonly system: ConTree['system'];

  private constructor(parts: EngineParts) {
    this.#parts = parts;
    this.node = new EngineNode(parts);
    const own = projectContree(parts, { project: DEFAULT_PROJECT, isOwner: true });
    this.images = own.images;
    this.tags = own.tags;
    this.files = own.files;
    this.uploads = own.uploads;
    this.runs = own.runs;
    this.instances = own.instances;
    this.operations = own.operations;
    this.processes = own.processes;
    this.system = own.system;
  }

  /**
   * Ends the operations that a crashed engine left unfinished; then the engine is ready. The driver starts in the
   * background.
   */
  static open(options: EngineOptions): Engine {
    const { store, driver, importer, pusher, download, version, log = SILENT_LOG } = options;
    const capacity = runCapacity(options.concurrency ?? 0);
    const readers = new ReaderPool();
    const statistics = new Statistics();
    const operations = new Operations(store, log, statistics, options.catalogue);
    const lost = operations.recover();
    if (lost > 0) log.warn({ operations: lost }, 'ended operations that a stopped engine left unfinished');
    driver.warm().catch((error: unknown) => log.warn({ err: error }, 'the sandbox driver is not ready'));
    const trees = new ImageTrees(readers);
    const threads = new Threads();
    const parts = { store, driver, readers, trees, threads, operations, log };
    const housekeeping = new Housekeeping(parts, options.housekeeping);
    const quotas = new Quotas(store.quotas, options.quota ?? {});
    return new Engine({
      store,
      driver,
      importer,
      pusher,
      download,
      guestAgent: options.guestAgent,
      version,
      capacity,
      quotas,
      runs: new Admission(capacity, (project) => quotas.claims(project)),
      imports: new Admission({ imports: limits.importsAtOnce }),
      builds: new Admission({ builds: limits.buildsAtOnce }),
      readers,
      trees,
      threads,
      injector: new Injector(readers),
      compactor: new Compactor(store, readers, log),
      housekeeping,
      operations,
      catalogue: options.catalogue,
      instances: new Instances(),
      instancePolicy: { ...DEFAULT_POLICY, ...options.instancePolicy },
      publishAddress: options.publishAddress ?? '127.0.0.1',
      statistics,
    });
  }

  /**
   * Returns the engine as a tenant sees it. This is cheap, and there is nothing to dispose. The one operation that is started
   * through a view with an `operation` has that UUID.
   */
  forTenant(tenant: Tenant, { operation }: { readonly operation?: string } = {}): ConTree {
    return projectContree(this.#parts, tenant, operation);
  }

  /** Returns the effective limits of a tenant. */
  boundsOf(tenant: Tenant): Bounds {
    return new ProjectContext(this.#parts, tenant).bounds;
  }

  /** Usual terms of instances that stay, and their bounds. */
  get instancePolicy(): InstancePolicy {
    return this.#parts.instancePolicy;
  }

  /** Connects to a port of an open instance of the tenant. */
  async connect(tenant: Tenant, port: PortOfInstance, signal: AbortSignal): Promise<Duplex> {
    return connectToPort(new ProjectContext(this.#parts, tenant), port, signal);
  }

  /** Number of unfinished operations of all projects. */
  get activeCount(): number {
    return this.#parts.operations.activeCount;
  }

  /** Number of open instances of all projects. */
  get openInstances(): number {
    return this.#parts.instances.size;
  }

  /** Returns the statistics of the engine since its start. */
  get statistics(): Statistics {
    return this.#parts.statistics;
  }

  get queues(): Readonly<Record<'runs' | 'imports' | 'builds', QueueLength>> {
    const { runs, imports, builds } = this.#parts;
    return { runs: queueLength(runs), imports: queueLength(imports), builds: queueLength(builds) };
  }

  /** Number of usual runs that fit beside what runs now. */
  get spareRuns(): number {
    const usual = { cpus: limits.guestCpusDefault, memoryMib: limits.guestMemoryMibDefault };
    return this.#parts.runs.spare(runCost(usual));
  }

  /** Returns the projects with what they use, and changes their quotas. */
  get projects(): ContreeServer['projects'] {
    return projectsOf(this.#parts);
  }

  /** Waits for background work that no client asked for. */
  async settled(): Promise<void> {
    await this.#parts.compactor.settled();
    await this.#parts.housekeeping.settled();
  }

  /**
   * Refuses new work, ends open instances, whose changes are kept, and waits for running operations; those left after
   * the grace period end FAILED with ENGINE_STOPPED.
   */
  async stop(graceMs: number): Promise<void> {
    const { operations, instances } = this.#parts;
    operations.refuse();
    // The first time only: who asks again does not want to wait.
    const keepMs = this.#stopping ? 0 : limits.instanceStopMsMax;
    this.#stopping = true;
    instances.leave();
    const startedMs = performance.now();
    await operations.instancesEnded(keepMs);
    await operations.stop(Math.max(0, graceMs - (performance.now() - startedMs)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { compactor, housekeeping, threads, trees, readers } = this.#parts;
    await this.stop(0);
    await housekeeping[Symbol.asyncDispose]();
    await compactor[Symbol.asyncDispose]();
    await threads[Symbol.asyncDispose]();
    await trees[Symbol.asyncDispose]();
    await readers[Symbol.asyncDispose]();
  }
}
