import type { ConTree } from '../../contract/contree.ts';
import { ProjectContext, type EngineParts } from './context.ts';
import { projectFiles } from './files.ts';
import { projectImages } from './images.ts';
import { projectInstances } from './instances.ts';
import { projectOperations, projectProcesses } from './operations.ts';
import { projectRuns } from './runs.ts';
import { projectSystem } from './system.ts';
import { projectTags } from './tags.ts';
import type { Tenant } from './tenant.ts';
import { projectUploads } from './uploads.ts';

/**
 * Returns the engine as one tenant sees it: only its own project, within the limits of its token. What it starts has the UUID
 * `operation`, if given.
 */
export function projectContree(parts: EngineParts, tenant: Tenant, operation?: string): ConTree {
  const context = new ProjectContext(parts, tenant, operation);
  return {
    images: projectImages(context),
    tags: projectTags(context),
    files: projectFiles(context),
    uploads: projectUploads(context),
    runs: projectRuns(context),
    instances: projectInstances(context),
    operations: projectOperations(context),
    processes: projectProcesses(context),
    system: projectSystem(context),
    // Nothing to dispose.
    [Symbol.asyncDispose]: async () => undefined,
  };
}
