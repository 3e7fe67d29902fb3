import type { Checkpoint } from '../../contract/instance.ts';
import { limits } from '../../contract/limits.ts';

/** Terms of instances whose request leaves them out, and the most that it may ask for. */
export interface InstancePolicy {
  readonly idleSeconds: number;
  readonly lifeSeconds: number;
  readonly lifeSecondsMax: number;
  /** Snapshots of instances that are not disposable. */
  readonly checkpoint?: Checkpoint | undefined;
  /** Instances of one project that are open at the same time. */
  readonly openMax: number;
}

export const DEFAULT_POLICY: InstancePolicy = {
  idleSeconds: limits.instanceIdleSecondsDefault,
  lifeSeconds: limits.instanceLifeSecondsDefault,
  lifeSecondsMax: limits.instanceLifeSecondsMax,
  openMax: limits.instancesPerProjectMax,
};
