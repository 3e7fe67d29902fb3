import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { OPERATION_STATUSES } from '../contract/operation.ts';
import type { ProjectUsage } from '../contract/server.ts';
import type { Engine } from '../engine/engine.ts';
import type { Metric } from '../http/metrics.ts';
import type { Store } from '../store/store.ts';

/** Projects with metrics of their own. */
const PROJECTS_MAX = 200;

type Samples = Metric['samples'];

/** Returns the metrics of an engine and its store, of all projects together: readers of metrics operate the server. */
export async function engineMetrics(engine: Engine, store: Store): Promise<readonly Metric[]> {
  const counts = store.operationCounts();
  const gauge = (name: string, help: string, samples: Samples): Metric => ({ name, help, type: 'gauge', samples });
  const counter = (name: string, help: string, samples: Samples): Metric => ({ name, help, type: 'counter', samples });
  const { phases, ends } = engine.statistics;
  return [
    gauge(
      'operations',
      'Operations in the store, by status.',
      OPERATION_STATUSES.map((status) => ({ labels: { status }, value: counts[status] ?? 0 })),
    ),
    gauge('queue', 'Operations that are queued or admitted.', queueSamples(engine)),
    gauge('instances_open', 'Instances that stay and are open.', [{ value: engine.openInstances }]),
    counter(
      'operations_ended_total',
      'Operations that ended since the engine started.',
      ends.map(({ kind, status, count }) => ({ labels: { kind, status }, value: count })),
    ),
    counter(
      'run_phase_seconds_total',
      'Time that runs spent in each of their phases.',
      [...phases].map(([phase, { seconds }]) => ({ labels: { phase }, value: Math.round(seconds * 1e4) / 1e4 })),
    ),
    counter(
      'run_phases_total',
      'Runs that went through each phase.',
      [...phases].map(([phase, { count }]) => ({ labels: { phase }, value: count })),
    ),
    ...(await projectMetrics(engine)),
    gauge('store_bytes', 'Bytes in the data directory, by kind.', await storeSamples(store)),
  ];
}

/** Returns what projects wait for, use and may use: of the busiest ones, because each is a series of its own. */
async function projectMetrics(engine: Engine): Promise<readonly Metric[]> {
  const all = await engine.projects.list();
  const activity = ({ queued, used }: ProjectUsage): number => queued + used.runs + used.instances;
  const busiest = all.toSorted((one, other) => activity(other) - activity(one)).slice(0, PROJECTS_MAX);
  const amounts = (name: 'used' | 'quota'): Samples =>
    busiest.flatMap(({ project, [name]: values }) =>
      Object.entries(values).map(([what, value = 0]) => ({ labels: { project, what }, value })),
    );
  const queued = busiest.map(({ project, queued: value }) => ({ labels: { project }, value }));
  return [
    { name: 'project_queued', help: 'Operations that wait, by project.', type: 'gauge', samples: queued },
    { name: 'project_used', help: 'Resources that projects use.', type: 'gauge', samples: amounts('used') },
    { name: 'project_quota', help: 'Quotas of projects.', type: 'gauge', samples: amounts('quota') },
  ];
}

function queueSamples(engine: Engine): Samples {
  return Object.entries(engine.queues).flatMap(([queue, { waiting, running }]) => [
    { labels: { queue, state: 'waiting' }, value: waiting },
    { labels: { queue, state: 'running' }, value: running },
  ]);
}

async function storeSamples(store: Store): Promise<Samples> {
  const sizes = ['store.sqlite', 'store.sqlite-wal'].map(async (name) => {
    const info = await stat(join(store.directory, name)).catch(() => undefined);
    return info?.size ?? 0;
  });
  const database = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  return [
    { labels: { what: 'layers' }, value: store.layers.usage().bytes },
    { labels: { what: 'files' }, value: store.files.usage().bytes },
    { labels: { what: 'database' }, value: database },
  ];
}
