import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import { checkMemory } from '../../engine/capacity.ts';
import { boundedTimeout } from '../../engine/project/context.ts';
import { planRun } from '../../engine/run/plan.ts';
import { recordRun } from '../../engine/run/record.ts';
import { accept } from './accept.ts';
import type { ClusterContext } from './context.ts';
import { reusedOperation, reuseKeyOf } from './reuse.ts';

/** Returns the runs group of a project: a run is checked here, and executed by the node that claims it. */
export function clusterRuns(context: ClusterContext): ConTree['runs'] {
  return {
    start: async (request) => {
      await checkConcurrency(context);
      const longest = context.bounds.instance_max_timeout;
      const timeout = boundedTimeout(request.timeout, limits.commandTimeoutSecondsDefault, longest);
      const image = await lookUp(context, request);
      const bounded = { ...request, timeout, image: image.uuid };
      const plan = planRun(bounded, image.config);
      checkMemory(request.resources_limits?.memory_mib);
      const reuseKey = await reuseKeyOf(context, bounded, plan);
      const record = recordRun(bounded);
      const earlier = await reusedOperation(context, bounded, { reuseKey, record });
      if (earlier !== undefined) return { uuid: earlier, image: image.uuid, reused: true };
      // Looked for here, in the catalogue of all nodes.
      const { reuse: _asked, ...fresh } = bounded;
      const work = { method: 'run', request: fresh } as const;
      const uuid = await accept(context, { work, kind: 'instance', record, image: image.uuid, reuseKey });
      return { uuid, image: image.uuid };
    },
  };
}

/** Returns the image of a run. One that is remembered may have been deleted: then the run is not accepted. */
async function lookUp({ parts, project, images }: ClusterContext, { image, reuse }: InstanceSpawnRequest) {
  return reuse ? await images.get(image) : await parts.adoption.find(project, image);
}

/** Refuses a run too many of a token, wherever its others are. Faults: OPERATION_LIMIT. */
async function checkConcurrency({ tenant, operations }: ClusterContext): Promise<void> {
  const { token, limits: own } = tenant;
  const most = own?.instance_max_concurrency;
  if (token === undefined || most === undefined) return;
  if ((await operations.runsOf(token)) >= most) throw fault('OPERATION_LIMIT', { limit: most });
}
