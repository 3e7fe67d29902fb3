import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import type { InstanceOpenRequest, InstanceTerms } from '../../contract/instance.ts';
import { limits } from '../../contract/limits.ts';
import { isTag } from '../../contract/names.ts';
import { present } from '../../std/present.ts';
import type { StoredOperation } from '../../store/operations.ts';
import type { Resources } from '../admission.ts';
import { checkMemory, instanceCost, instanceMemoryMib } from '../capacity.ts';
import { instanceDetails, instanceSummary } from '../instance/summary.ts';
import { executeStay } from '../instance/stay.ts';
import { injectedSet } from '../run/injected-set.ts';
import { planOpen } from '../run/plan.ts';
import { recordOpen } from '../run/record.ts';
import { boundedTimeout, type ProjectContext } from './context.ts';

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
    close: async (operation, request = {}) => {
      const stored = instanceOf(context, operation);
      checkTag(request.tag);
      await operations.instance(stored);
      const found = instances.find(stored.uuid);
      if (found === undefined) throw fault('INSTANCE_NOT_RUNNING', { operation: stored.uuid, status: stored.status });
      found.close(request);
    },
  };
}

/** Accepts an instance. It is refused rather than queued when instances hold all the memory that they may. */
function open(context: ProjectContext, request: InstanceOpenRequest): { uuid: string; image: string } {
  const { store, parts, tenant } = context;
  const hold = store.hold();
  try {
    checkTag(request.tag);
    const terms = termsOf(context, request);
    const image = store.images.resolve(request.image);
    const plan = planOpen(request, image.config);
    checkMemory(request.resources_limits?.memory_mib);
    const injected = injectedSet(store, request);
    const cost = instanceCost(plan.boot);
    checkCounts(context);
    checkInstanceMemory(context, cost);
    const uuid = parts.operations.start({
      store,
      token: tenant.token,
      kind: 'instance',
      stays: true,
      request: JSON.stringify(recordOpen({ ...request, image: image.uuid }, terms)),
      image: image.uuid,
      admission: parts.runs,
      cost,
      work: (operation) => executeStay({ ...parts, store }, { image, plan, injected, terms, hold }, operation),
      release: hold,
    });
    return { uuid, image: image.uuid };
  } catch (error) {
    hold[Symbol.dispose]();
    throw error;
  }
}

/** Returns the times of a request within the bounds of its token. Faults: ARGUMENT_INVALID. */
function termsOf({ bounds }: ProjectContext, { idle_timeout, lifetime, tag }: InstanceOpenRequest): InstanceTerms {
  const most = bounds.instance_max_lifetime;
  const life = boundedTimeout(lifetime, limits.instanceLifeSecondsDefault, most, 'lifetime');
  const idle = idle_timeout ?? limits.instanceIdleSecondsDefault;
  return { idle_timeout: Math.min(idle, life), lifetime: life, ...present({ tag }) };
}

/** Returns the instance of that operation. Faults: OPERATION_NOT_FOUND. */
function instanceOf({ store }: ProjectContext, operation: string): StoredOperation {
  const stored = store.operations.get(operation);
  if (!stored.stays) throw fault('OPERATION_NOT_FOUND', { operation });
  return stored;
}

function checkTag(tag: string | undefined): void {
  if (tag !== undefined && !isTag(tag)) throw fault('TAG_INVALID', { tag });
}

/** Refuses an instance too many, of the token or of the project. Faults: INSTANCE_LIMIT. */
function checkCounts({ tenant, parts, bounds }: ProjectContext): void {
  const { token, project } = tenant;
  const { operations } = parts;
  if (token !== undefined && operations.instancesOf({ token }) >= bounds.instances_max_open) {
    throw fault('INSTANCE_LIMIT', { what: 'token', limit: bounds.instances_max_open });
  }
  if (operations.instancesOf({ project }) >= limits.instancesPerProjectMax) {
    throw fault('INSTANCE_LIMIT', { what: 'project', limit: limits.instancesPerProjectMax });
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
