import type { ClusterLoad } from '../../cluster/catalogue/load.ts';
import type { Metric } from '../../http/metrics.ts';

/**
 * Returns the metrics of the whole cluster, the same at every node; none while the database cannot be asked, because those
 * of the node itself are then needed most.
 */
export async function clusterMetrics(load: () => Promise<ClusterLoad>): Promise<readonly Metric[]> {
  const found = await load().catch(() => undefined);
  if (found === undefined) return [];
  const { waiting, running, nodes, workers } = found;
  return [
    {
      name: 'cluster_queue',
      help: 'Operations of the cluster that wait for a node, and those that a node has.',
      type: 'gauge',
      samples: [
        { labels: { state: 'waiting' }, value: waiting },
        { labels: { state: 'running' }, value: running },
      ],
    },
    {
      name: 'cluster_nodes',
      help: 'Nodes that are in the cluster, and those of them that execute operations.',
      type: 'gauge',
      samples: [
        { labels: { role: 'any' }, value: nodes },
        { labels: { role: 'worker' }, value: workers },
      ],
    },
  ];
}
