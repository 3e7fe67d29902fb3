import type { ClusterDatabase } from './database.ts';

/** Work and nodes of a cluster. */
export interface ClusterLoad {
  /** Operations that wait for a node, and those that a node has. */
  readonly waiting: number;
  readonly running: number;
  /** Nodes that are there, and those of them that execute operations. */
  readonly nodes: number;
  readonly workers: number;
}

/** Counts the work that waits and runs, and the nodes that are there. */
export async function clusterLoad(database: ClusterDatabase): Promise<ClusterLoad> {
  const [load] = await database.rows<ClusterLoad>(
    `SELECT (SELECT count(*)::int FROM operations WHERE status = 'PENDING') AS waiting,
            (SELECT count(*)::int FROM operations WHERE status IN ('ASSIGNED', 'EXECUTING')) AS running,
            count(*)::int AS nodes, (count(*) FILTER (WHERE works))::int AS workers
       FROM nodes WHERE lease_until > now()`,
  );
  return load ?? { waiting: 0, running: 0, nodes: 0, workers: 0 };
}
