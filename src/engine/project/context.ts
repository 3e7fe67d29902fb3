import { fault } from '../../contract/errors.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import type { SandboxDriver } from '../../sandbox/driver.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import type { Store } from '../../store/store.ts';
import type { Admission, Resources } from '../admission.ts';
import type { Compactor } from '../compaction.ts';
import type { Housekeeping } from '../housekeeping.ts';
import type { ImageTrees } from '../image-trees.ts';
import type { Downloader } from '../../images/import/download.ts';
import type { Importer } from '../../images/import/importer.ts';
import type { Instances } from '../instance/instances.ts';
import type { InstancePolicy } from '../instance/policy.ts';
import type { Injector } from '../run/inject.ts';
import type { Catalogue } from '../node/catalogue.ts';
import type { LiveInstance } from '../run/live-instance.ts';
import type { Operations } from '../operations.ts';
import type { Pusher } from '../../images/export/push.ts';
import type { Quotas } from '../quota/quotas.ts';
import type { Statistics } from '../statistics.ts';
import type { Threads } from '../workers/threads.ts';
import { boundsOf, type Bounds, type Tenant } from './tenant.ts';

/** Parts shared by all projects of an engine. */
export interface EngineParts {
  readonly store: Store;
  readonly driver: SandboxDriver;
  readonly importer: Importer;
  readonly pusher: Pusher;
  readonly download: Downloader | undefined;
  readonly guestAgent: string | undefined;
  readonly version: string;
  readonly capacity: Resources;
  readonly quotas: Quotas;
  readonly runs: Admission;
  readonly imports: Admission;
  readonly builds: Admission;
  readonly readers: ReaderPool;
  readonly trees: ImageTrees;
  readonly threads: Threads;
  readonly injector: Injector;
  readonly compactor: Compactor;
  readonly housekeeping: Housekeeping;
  readonly operations: Operations;
  readonly catalogue: Catalogue | undefined;
  readonly instances: Instances;
  readonly instancePolicy: InstancePolicy;
  /** Address of the host at which ports of instances are published. */
  readonly publishAddress: string;
  readonly statistics: Statistics;
}

/** Context shared by the groups of one tenant's ConTree. */
export class ProjectContext {
  readonly parts: EngineParts;
  readonly tenant: Tenant;
  readonly store: ProjectStore;
  /** Store and UUID of an operation that is started. */
  readonly place: { readonly store: ProjectStore; readonly uuid?: string };

  /** With an `operation`, what is started has that UUID. */
  constructor(parts: EngineParts, tenant: Tenant, operation?: string) {
    this.parts = parts;
    this.tenant = tenant;
    this.store = parts.store.forProject(tenant.project);
    this.place = { store: this.store, ...(operation !== undefined && { uuid: operation }) };
  }

  get bounds(): Bounds {
    return boundsOf(this.tenant, this.parts.capacity, this.parts.instancePolicy);
  }

  /**
   * Returns the registry hosts that a tenant may reach. The owner needs no more permission than naming
   * `127.0.0.1:5000`. For anyone else that would give access to the owner's network, which only the owner's settings
   * open.
   */
  get privateByName(): boolean {
    return this.tenant.isOwner === true;
  }

  /** Returns the running instance of an operation of this project, once it is up. */
  instance(operation: string): Promise<LiveInstance> {
    return this.parts.operations.instance(this.store.operations.get(operation));
  }
}

/**
 * Refuses work that the project's quota does not allow, before it is accepted: what it claims, which does not become free
 * by waiting, and what it stores. What was accepted is kept, even where it then exceeds the storage. Faults:
 * QUOTA_EXCEEDED.
 */
export function checkQuota(
  { store: { project }, parts }: ProjectContext,
  { claim = {}, lasting = false, stores }: { claim?: Resources; lasting?: boolean; stores: boolean },
): void {
  parts.runs.check({ project, cost: {}, claim, lasting });
  if (stores) parts.quotas.checkStorage(project);
}

/** Returns the timeout of a request in seconds. A requested timeout is never shortened silently; a default one is. */
export function boundedTimeout(asked: number | undefined, usual: number, most: number, what = 'timeout'): number {
  if (asked === undefined) return Math.min(usual, most);
  if (asked <= most) return asked;
  throw fault('ARGUMENT_INVALID', { reason: `${what}: this token allows at most ${most} seconds` });
}
