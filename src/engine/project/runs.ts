import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import { checkMemory, runClaim, runCost } from '../capacity.ts';
import { injectedSet } from '../run/injected-set.ts';
import { planRun } from '../run/plan.ts';
import { recordRun } from '../run/record.ts';
import { recordedRun, reuseKey as keyOf, reusedSandbox } from '../run/reuse.ts';
import { executeRun } from '../run/run.ts';
import { boundedTimeout, checkQuota, type ProjectContext } from './context.ts';

/** Returns the runs group of a project. */
export function projectRuns(context: ProjectContext): ConTree['runs'] {
  const { store, parts, tenant } = context;
  return {
    start: async (request) => {
      const sandbox = await reusedSandbox(parts.driver, request);
      const hold = store.hold();
      try {
        const bounded = admitted(context, request);
        // Resolved once, now: an accepted run can no longer fail with "not found".
        const image = store.images.resolve(request.image);
        const plan = planRun(bounded, image.config);
        checkMemory(request.resources_limits?.memory_mib);
        const injected = injectedSet(store, request);
        const reuseKey = keyOf(store, { image: image.uuid, request: bounded, plan, injected });
        // The record says which image it was, wherever the tag points later.
        const record = JSON.stringify(recordRun({ ...bounded, image: image.uuid }));
        const earlier = recordedRun(store, request, { key: reuseKey, sandbox });
        if (earlier !== undefined) {
          const uuid = await parts.operations.repeat({ ...context.place, request: record }, earlier);
          hold[Symbol.dispose]();
          return { uuid, image: image.uuid, reused: true };
        }
        checkQuota(context, { claim: runClaim(plan.boot), stores: request.disposable !== true });
        const command = [request.command, ...(request.args ?? [])].join(' ');
        const uuid = parts.operations.start({
          ...context.place,
          token: tenant.token,
          kind: 'instance',
          request: record,
          image: image.uuid,
          admission: parts.runs,
          cost: runCost(plan.boot),
          claim: runClaim(plan.boot),
          work: (operation) => executeRun({ ...parts, store }, { image, plan, injected, command, reuseKey }, operation),
          release: hold,
        });
        return { uuid, image: image.uuid };
      } catch (error) {
        hold[Symbol.dispose]();
        throw error;
      }
    },
  };
}

/** Returns the request with its effective timeout. Faults: OPERATION_LIMIT, ARGUMENT_INVALID. */
function admitted({ tenant, parts, bounds }: ProjectContext, request: InstanceSpawnRequest): InstanceSpawnRequest {
  const { token, limits: own } = tenant;
  const most = own?.instance_max_concurrency;
  if (token !== undefined && most !== undefined && parts.operations.runsOf(token) >= most) {
    throw fault('OPERATION_LIMIT', { limit: most });
  }
  const longest = bounds.instance_max_timeout;
  return { ...request, timeout: boundedTimeout(request.timeout, limits.commandTimeoutSecondsDefault, longest) };
}
