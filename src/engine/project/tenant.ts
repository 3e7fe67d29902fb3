import type { Permission } from '../../contract/permissions.ts';
import { limits } from '../../contract/limits.ts';
import type { TokenLimits } from '../../contract/server.ts';
import type { Resources } from '../admission.ts';
import { runCost, usualConcurrency } from '../capacity.ts';

/** Tenant on whose behalf something is done: a project, and the token whose limits apply, if any. */
export interface Tenant {
  readonly project: string;
  /** UUID of the token. */
  readonly token?: string;
  /** Unix seconds; null for never. */
  readonly expiresAt?: number | null;
  /** Absent for all of them: without a token there is nobody but the owner. */
  readonly permissions?: ReadonlySet<Permission>;
  readonly limits?: TokenLimits;
  /** True for the owner of the data directory on this machine. */
  readonly isOwner?: boolean;
}

/** The limits that hold in the end. */
export type Bounds = Readonly<Record<keyof TokenLimits, number>>;

/** The limits that hold for a tenant: the token's where they are tighter than the engine's. */
export function boundsOf({ limits: own = {} }: Tenant, capacity: Resources): Bounds {
  const usual = runCost({ cpus: limits.guestCpusDefault, memoryMib: limits.guestMemoryMibDefault });
  const engine = {
    instance_max_timeout: limits.commandTimeoutSecondsMax,
    instance_max_concurrency: usualConcurrency(capacity, usual),
    images_import_max_timeout: limits.importTimeoutSecondsMax,
  };
  const tighter = (name: keyof TokenLimits): number => Math.min(engine[name], own[name] ?? Infinity);
  return {
    instance_max_timeout: tighter('instance_max_timeout'),
    // What the engine runs at once is no bound: more waits in the queue. A token's is one.
    instance_max_concurrency: own.instance_max_concurrency ?? engine.instance_max_concurrency,
    images_import_max_timeout: tighter('images_import_max_timeout'),
  };
}
