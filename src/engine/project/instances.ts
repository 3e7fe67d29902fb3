import type { Duplex } from 'node:stream';
import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import type { InstanceOpenRequest, InstanceTerms } from '../../contract/instance.ts';
import { present } from '../../std/present.ts';
import type { StoredOperation } from '../../store/operations.ts';
import type { Resources } from '../admission.ts';
import { checkMemory, instanceClaim, instanceCost, instanceMemoryMib } from '../capacity.ts';
import { LongHold } from '../instance/long-hold.ts';
import type { OpenInstance } from '../instance/open-instance.ts';
import { instanceDetails, instanceSummary, portInfo } from '../instance/summary.ts';
import { executeStay } from '../instance/stay.ts';
import { injectedSet } from '../run/injected-set.ts';
import type { InstancePolicy } from '../instance/policy.ts';
import { planOpen } from '../run/plan.ts';
import { recordOpen } from '../run/record.ts';
import { boundedTimeout, checkQuota, type ProjectContext } from './context.ts';
import { checkTag } from './tags.ts';
import type { Bounds, Tenant } from './tenant.ts';

/** Returns the instances group of a project. */
export function projectInstances(context: ProjectContext): ConTree['instances'] {
  const { store, parts } = context;
  const { instances, operations } = parts;
  return {
    open: async (request) => open(context, request),
    list: async (query = {}) =>
      store.operations
        .instances(query)
        .map((stored) => instanceSummary(operations.current(stored), instances.find(stored.uuid))),
    get: async (operation) => {
      const stored = instanceOf(context, operation);
      return instanceDetails(operations.current(stored), instances.find(stored.uuid));
    },
    snapshot: async (operation, request = {}) => {
      checkTag(request.tag);
      return (await openInstance(context, operation)).snapshot(request);
    },
    close: async (operation, request = {}) => {
      checkTag(request.tag);
      (await openInstance(context, operation)).close(request);
    },
    publish: async (operation, { port, host_port: hostPort = 0 }) => {
      checkHostPort(context, hostPort);
      const { ports } = await openInstance(context, operation);
      return portInfo(await ports.publish(port, hostPort));
    },
    unpublish: async (operation, port) => {
      const { ports } = await openInstance(context, operation);
      if (!(await ports.unpublish(port))) throw fault('PORT_NOT_PUBLISHED', { port });
    },
  };
}

/** Port of an instance to connect to. */
export interface PortOfInstance {
  /** UUID of its operation. */
  readonly instance: string;
  readonly port: number;
}

/**
 * Connects to a port of an open instance of the tenant's project. Faults: OPERATION_NOT_FOUND, INSTANCE_NOT_READY,
 * INSTANCE_NOT_RUNNING, PERMISSION_MISSING, and those of `Instance.connect`.
 */
export async function connectToPort(
  context: ProjectContext,
  { instance, port }: PortOfInstance,
  signal: AbortSignal,
): Promise<Duplex> {
  const found = await openInstance(context, instance);
  checkConnects(context.tenant, found.disposable);
  return found.ports.connect(port, signal);
}

/** Checks that a tenant may use the ports of an instance. Faults: PERMISSION_MISSING. */
export function checkConnects({ permissions }: Tenant, disposable: boolean): void {
  // What a server in it does at a request is saved with the instance, unless that is disposable.
  const needed = disposable ? (['spawn', 'spawn_disposable'] as const) : (['spawn'] as const);
  if (permissions !== undefined && !needed.some((permission) => permissions.has(permission))) {
    throw fault('PERMISSION_MISSING', { permission: needed[0] });
  }
}

/** Returns the running part of an instance. Faults: OPERATION_NOT_FOUND, INSTANCE_NOT_READY, INSTANCE_NOT_RUNNING. */
async function openInstance(context: ProjectContext, operation: string): Promise<OpenInstance> {
  const { instances, operations } = context.parts;
  const stored = instanceOf(context, operation);
  await operations.instance(stored);
  const found = instances.find(stored.uuid);
  if (found === undefined) throw fault('INSTANCE_NOT_RUNNING', { operation: stored.uuid, status: stored.status });
  return found;
}

/**
 * Refuses a chosen port of the host to those who do not administer it: with one they could take the place of a program that
 * others of the machine expect there. Faults: ARGUMENT_INVALID.
 */
function checkHostPort({ tenant }: ProjectContext, hostPort: number): void {
  if (hostPort === 0 || tenant.isOwner === true || tenant.permissions?.has('admin')) return;
  throw fault('ARGUMENT_INVALID', {
    reason: 'host_port: only the owner of the engine and administrators may choose it; leave it out for a free one',
  });
}

/** Accepts an instance. It is refused rather than queued when instances hold all the memory that they may. */
function open(context: ProjectContext, request: InstanceOpenRequest): { uuid: string; image: string } {
  const { store, parts, tenant } = context;
  const hold = new LongHold(store);
  try {
    checkTag(request.tag);
    const { publish = [] } = request;
    for (const { host_port: hostPort = 0 } of publish) checkHostPort(context, hostPort);
    const terms = termsOf({ bounds: context.bounds, policy: context.parts.instancePolicy }, request);
    const image = store.images.resolve(request.image);
    const plan = planOpen(request, image.config);
    checkMemory(request.resources_limits?.memory_mib);
    const injected = injectedSet(store, request);
    const cost = instanceCost(plan.boot);
    const claim = instanceClaim(plan.boot);
    checkCounts(context);
    checkQuota(context, { claim, stores: request.disposable !== true });
    checkInstanceMemory(context, cost);
    const uuid = parts.operations.start({
      ...context.place,
      token: tenant.token,
      kind: 'instance',
      stays: true,
      request: JSON.stringify(recordOpen({ ...request, image: image.uuid }, terms)),
      image: image.uuid,
      admission: parts.runs,
      cost,
      claim,
      work: (operation) => executeStay({ ...parts, store }, { image, plan, injected, terms, publish, hold }, operation),
      release: hold,
    });
    return { uuid, image: image.uuid };
  } catch (error) {
    hold[Symbol.dispose]();
    throw error;
  }
}

/** Returns the terms of a request: its own within the bounds of its token, or the usual ones. Faults: ARGUMENT_INVALID. */
export function termsOf(
  { bounds, policy }: { readonly bounds: Bounds; readonly policy: InstancePolicy },
  { idle_timeout, lifetime, checkpoint: asked, tag, disposable = false }: InstanceOpenRequest,
): InstanceTerms {
  const { lifeSeconds, idleSeconds, checkpoint: usual } = policy;
  const life = boundedTimeout(lifetime, lifeSeconds, bounds.instance_max_lifetime, 'lifetime');
  const idle = idle_timeout ?? idleSeconds;
  const checkpoint = asked ?? (disposable ? undefined : usual);
  return { idle_timeout: Math.min(idle, life), lifetime: life, ...present({ checkpoint, tag }) };
}

/** Returns the instance of that operation. Faults: OPERATION_NOT_FOUND. */
function instanceOf({ store }: ProjectContext, operation: string): StoredOperation {
  const stored = store.operations.get(operation);
  if (!stored.stays) throw fault('OPERATION_NOT_FOUND', { operation });
  return stored;
}

/** Refuses an instance too many, of the token or of the project. Faults: INSTANCE_LIMIT. */
function checkCounts({ tenant, parts, bounds }: ProjectContext): void {
  const { token, project } = tenant;
  const { operations, instancePolicy, quotas } = parts;
  const openMax = Math.min(instancePolicy.openMax, quotas.of(project).instances ?? Infinity);
  if (token !== undefined && operations.instancesOf({ token }) >= bounds.instances_max_open) {
    throw fault('INSTANCE_LIMIT', { what: 'token', limit: bounds.instances_max_open });
  }
  if (operations.instancesOf({ project }) >= openMax) {
    throw fault('INSTANCE_LIMIT', { what: 'project', limit: openMax });
  }
}

/**
 * Refuses an instance when the open ones hold all the memory that they may. It is not queued, because the place that it
 * waits for may not become free for days, and runs behind it would wait as long. Faults: INSTANCE_MEMORY.
 */
function checkInstanceMemory({ parts }: ProjectContext, cost: Resources): void {
  const held = parts.operations.instanceMemoryMib;
  const freeMib = Math.max(0, instanceMemoryMib(parts.capacity) - held);
  const askedMib = cost['memoryMib'] ?? 0;
  if (held > 0 && askedMib > freeMib) throw fault('INSTANCE_MEMORY', { askedMib, freeMib });
}
