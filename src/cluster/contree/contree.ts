import type { ConTree } from '../../contract/contree.ts';
import type { Tenant } from '../../engine/project/tenant.ts';
import type { NodeParts } from '../node/parts.ts';
import { ClusterContext } from './context.ts';
import { clusterFiles } from './files.ts';
import { clusterImages, clusterTags } from './images.ts';
import { clusterInstances } from './instances.ts';
import { clusterOperations, clusterProcesses } from './operations.ts';
import { clusterRuns } from './runs.ts';
import { clusterSystem } from './system.ts';
import { clusterUploads } from './uploads.ts';

/** Returns the cluster as one tenant sees it from this node. */
export function clusterContree(parts: NodeParts, tenant: Tenant): ConTree {
  const context = new ClusterContext(parts, tenant);
  return {
    images: clusterImages(context),
    tags: clusterTags(context),
    files: clusterFiles(context),
    uploads: clusterUploads(context),
    runs: clusterRuns(context),
    instances: clusterInstances(context),
    operations: clusterOperations(context),
    processes: clusterProcesses(context),
    system: clusterSystem(context),
    // Nothing to dispose.
    [Symbol.asyncDispose]: async () => undefined,
  };
}
