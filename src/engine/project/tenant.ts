import type { Permission } from '../../contract/permissions.ts';
import { limits } from '../../contract/limits.ts';
import type { TokenLimits } from '../../contract/server.ts';
import type { Resources } from '../admission.ts';
import { runCost, usualConcurrency } from '../capacity.ts';
import type { InstancePolicy } from '../instance/policy.ts';

/** Tenant for which work is done: a project, and the token whose limits apply, if any. */
export interface Tenant {
  readonly project: string;
  /** UUID of the token. */
  readonly token?: string;
  /** Unix seconds; null for never. */
  readonly expiresAt?: number | null;
  /** Absent means all permissions: without a token the caller is the owner. */
  readonly permissions?: ReadonlySet<Permission>;
  readonly limits?: TokenLimits;
  /** True for the owner of the data directory on this machine. */
  readonly isOwner?: boolean;
}

/** Effective limits. */
export type Bounds = Readonly<Record<keyof TokenLimits, number>>;

/** Returns the effective limits of a tenant: the token's where they are lower than the engine's. */
export function boundsOf({ limits: own = {} }: Tenant, capacity: Resources, policy: InstancePolicy): Bounds {
  const usual = runCost({ cpus: limits.guestCpusDefault, memoryMib: limits.guestMemoryMibDefault });
  const engine = {
    instance_max_timeout: limits.commandTimeoutSecondsMax,
    instance_max_concurrency: usualConcurrency(capacity, usual),
    instances_max_open: policy.openMax,
    instance_max_lifetime: policy.lifeSecondsMax,
    images_import_max_timeout: limits.importTimeoutSecondsMax,
  };
  const tighter = (name: keyof TokenLimits): number => Math.min(engine[name], own[name] ?? Infinity);
  return {
    instance_max_timeout: tighter('instance_max_timeout'),
    // The engine's concurrency does not limit the number of operations, because the rest is queued. A token's does.
    instance_max_concurrency: own.instance_max_concurrency ?? engine.instance_max_concurrency,
    instances_max_open: tighter('instances_max_open'),
    instance_max_lifetime: tighter('instance_max_lifetime'),
    images_import_max_timeout: tighter('images_import_max_timeout'),
  };
}
