import { createHash } from 'node:crypto';
import { isFault } from '../../contract/errors.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import { streamBytes } from '../../contract/stream.ts';
import type { Instance, SandboxDriver } from '../../sandbox/driver.ts';
import type { StoredOperation } from '../../store/operations.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import type { InjectedSet } from './injected-set.ts';
import type { RunPlan } from './plan.ts';
import { isSecretVariable } from './secrets.ts';

/** Run before it starts, with everything that its result depends on but the sandbox. */
export interface PlannedRun {
  /** UUID of its image. */
  readonly image: string;
  readonly request: InstanceSpawnRequest;
  readonly plan: RunPlan;
  readonly injected: InjectedSet | undefined;
}

/**
 * Returns the key under which the result of a run is recorded and found. Undefined for a run that is never reused: its request
 * has a variable whose name suggests a secret, or its input is sent while it runs.
 */
export function reuseKey(
  store: { readonly recordedRuns: Pick<ProjectStore['recordedRuns'], 'keyOf'> },
  run: PlannedRun,
): string | undefined {
  const { env, stdin } = run.request;
  if (Object.entries(env ?? {}).some(([name, value]) => value !== null && isSecretVariable(name))) return undefined;
  if (stdin?.close === false) return undefined;
  return store.recordedRuns.keyOf(canonical(run));
}

/**
 * Returns everything that the result of a run depends on as text: equal for equal runs, different for different ones. Names in
 * objects are sorted; standard input, which may be large, is in it as a digest.
 */
export function canonical({ image, plan, injected }: Omit<PlannedRun, 'request'>): string {
  const { launch, boot, disposable, config } = plan;
  const { stdin, ...process } = launch;
  // The sandbox that was asked for does not matter, only the one that ran it.
  const { sandbox: _, ...machine } = boot;
  const input = stdin && createHash('sha256').update(streamBytes(stdin)).digest('hex');
  const parts = { version: 1, image, process, input, machine, disposable, config, injected: injected?.id };
  return JSON.stringify(parts, (_name, value: unknown) => (isRecord(value) ? sorted(value) : value));
}

/** Returns the sandbox in which a request that asks for reuse would run; undefined where there is none, or it does not ask. */
export async function reusedSandbox(
  driver: SandboxDriver,
  { reuse, sandbox }: InstanceSpawnRequest,
): Promise<string | undefined> {
  if (!reuse) return undefined;
  try {
    return await driver.kindOf(sandbox);
  } catch (error) {
    // The run itself fails with what is missing.
    if (isFault(error)) return undefined;
    throw error;
  }
}

/** Returns the recorded operation that answers a request, if it asks for one and there is one. */
export function recordedRun(
  store: ProjectStore,
  { reuse }: InstanceSpawnRequest,
  place: { readonly key: string | undefined; readonly sandbox: string | undefined },
): StoredOperation | undefined {
  const { key, sandbox } = place;
  if (key === undefined || sandbox === undefined) return undefined;
  const found = store.recordedRuns.find({ key, sandbox }, { network: reuse === 'network' });
  return found === undefined ? undefined : store.operations.get(found);
}

/**
 * Reports whether a run used its network. Frames that were dropped unanswered, as those of an interface that comes up, tell
 * the guest nothing.
 */
export function usedNetwork(instance: Pick<Instance, 'networkUse'>): boolean {
  const use = instance.networkUse();
  return use.txPackets + use.rxPackets > 0;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function sorted(record: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).sort(([left], [right]) => (left < right ? -1 : 1)));
}
