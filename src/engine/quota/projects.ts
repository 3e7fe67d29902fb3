import type { ContreeServer } from '../../contract/contree.ts';
import type { ProjectUsage } from '../../contract/server.ts';
import type { Store } from '../../store/store.ts';
import type { Admission } from '../admission.ts';
import type { Operations } from '../operations.ts';
import type { Quotas } from './quotas.ts';

/** Parts of an engine that know what projects use. */
interface ProjectParts {
  readonly store: Store;
  readonly operations: Operations;
  readonly quotas: Quotas;
  readonly runs: Admission;
  readonly imports: Admission;
  readonly builds: Admission;
}

/** Returns the resources that a project uses, and its quota. */
export function usageOf(parts: ProjectParts, project: string): ProjectUsage {
  const { store, operations, quotas, runs, imports, builds } = parts;
  const { runs: running = 0, cpus = 0, memoryMib = 0 } = runs.of(project).used;
  return {
    project,
    used: {
      runs: running,
      cpus,
      memory_mib: memoryMib,
      instances: operations.instancesOf({ project }),
      storage_bytes: store.quotas.bytesOf(project),
    },
    queued: [runs, imports, builds].reduce((sum, line) => sum + line.of(project).waiting, 0),
    quota: quotas.of(project),
    own_quota: quotas.own(project),
  };
}

/**
 * Returns the projects of an engine for those who administer it: all that store something, hold or wait for a place, or
 * have a quota of their own.
 */
export function projectsOf(parts: ProjectParts): ContreeServer['projects'] {
  const { store, quotas, runs, imports, builds } = parts;
  return {
    list: async () => {
      const known = [...store.quotas.projects(), ...[runs, imports, builds].flatMap(({ projects }) => projects)];
      return [...new Set(known)].toSorted().map((project) => usageOf(parts, project));
    },
    change: async (project, change = {}) => {
      quotas.change(project, change);
      // A larger quota may let in what waits.
      runs.advance();
      return usageOf(parts, project);
    },
  };
}
