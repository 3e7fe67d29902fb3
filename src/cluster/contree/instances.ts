import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import type { InstanceOpenRequest, InstanceSummary } from '../../contract/instance.ts';
import { limits } from '../../contract/limits.ts';
import { isFinished } from '../../contract/operation.ts';
import { checkMemory } from '../../engine/capacity.ts';
import { instanceSummary } from '../../engine/instance/summary.ts';
import { termsOf } from '../../engine/project/instances.ts';
import { checkTag } from '../../engine/project/tags.ts';
import { planOpen } from '../../engine/run/plan.ts';
import { recordOpen } from '../../engine/run/record.ts';
import type { CatalogueOperation } from '../catalogue/operations.ts';
import { accept } from './accept.ts';
import type { ClusterContext } from './context.ts';

/** Returns the instances group of a project: opened by the node that claims it, which is asked from then on. */
export function clusterInstances(context: ClusterContext): ConTree['instances'] {
  const { operations } = context;
  const asked = async <Answer>(uuid: string, ask: (instances: ConTree['instances']) => Promise<Answer>) => {
    if (!(await operations.get(uuid)).stays) throw fault('OPERATION_NOT_FOUND', { operation: uuid });
    return await context.asked(uuid, ({ instances }) => ask(instances));
  };
  return {
    open: async (request) => open(context, request),
    list: async (query = {}) => summaries(context, await operations.instances(query)),
    get: async (uuid) => asked(uuid, (instances) => instances.get(uuid)),
    snapshot: async (uuid, request) => {
      checkTag(request?.tag);
      return await asked(uuid, (instances) => instances.snapshot(uuid, request));
    },
    close: async (uuid, request) => {
      checkTag(request?.tag);
      await asked(uuid, (instances) => instances.close(uuid, request));
    },
    publish: async (uuid, request) => asked(uuid, (instances) => instances.publish(uuid, request)),
    unpublish: async (uuid, port) => asked(uuid, (instances) => instances.unpublish(uuid, port)),
  };
}

async function open(context: ClusterContext, request: InstanceOpenRequest): Promise<{ uuid: string; image: string }> {
  checkTag(request.tag);
  const { bounds, parts } = context;
  const terms = termsOf({ bounds, policy: parts.engine.instancePolicy }, request);
  const image = await context.images.get(request.image);
  const bounded = { ...request, image: image.uuid, ...terms };
  planOpen(bounded, image.config);
  checkMemory(request.resources_limits?.memory_mib);
  const record = recordOpen(bounded, terms);
  const work = { method: 'open', request: bounded } as const;
  const uuid = await accept(context, { work, kind: 'instance', record, image: image.uuid, stays: true });
  return { uuid, image: image.uuid };
}

/** Describes instances; those that are open as their nodes have them, as far as these can be reached. */
async function summaries(
  context: ClusterContext,
  operations: readonly CatalogueOperation[],
): Promise<InstanceSummary[]> {
  const begun = operations.filter(({ status, startedAtMs }) => !isFinished(status) && startedAtMs !== null);
  const known = new Map<string, InstanceSummary>();
  const nodes = Map.groupBy(begun, ({ node }) => node);
  await Promise.all(
    [...nodes.values()].map(async ([first]) => {
      if (first === undefined) return;
      try {
        const { instances } = await context.live(first);
        for (const one of await instances.list({ limit: limits.pageMax })) known.set(one.uuid, one);
      } catch (error) {
        context.parts.log.warn({ node: first.node, err: error }, 'a node did not tell its instances');
      }
    }),
  );
  return operations.map((operation) => known.get(operation.uuid) ?? instanceSummary(operation, undefined));
}
