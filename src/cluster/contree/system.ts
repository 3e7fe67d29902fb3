import type { ConTree } from '../../contract/contree.ts';
import { limits } from '../../contract/limits.ts';
import type { DoctorCheck, GcReport, ProjectUsage } from '../../contract/server.ts';
import { defined } from '../../std/assert.ts';
import type { ClusterContext } from './context.ts';

/** Returns the system group: limits and permissions of the tenant, and this node's own store and host. */
export function clusterSystem(context: ClusterContext): ConTree['system'] {
  const { own, operations } = context;
  return {
    whoami: async (signal) => ({
      ...(await own.system.whoami(signal)),
      operations_stat: { ...(await operations.counts()) },
    }),
    usage: async () => usage(context),
    gc: async (request, signal) => {
      const report = await own.system.gc(request, signal);
      return { ...report, usage: [...report.usage, ...(await storedBytes(context))] };
    },
    doctor: async (query, signal) => {
      const { version, checks } = await own.system.doctor(query, signal);
      return { version, checks: [...checks, await clusterCheck(context)] };
    },
  };
}

/** Returns the resources that a project uses on all nodes. There are no quotas of projects in a cluster yet. */
async function usage({ parts, project }: ClusterContext): Promise<ProjectUsage> {
  const rows = await parts.database.rows<ProjectUsage['used'] & { queued: number }>(
    `SELECT count(*) FILTER (WHERE begun AND kind = 'instance' AND NOT stays)::float8 AS runs,
       count(*) FILTER (WHERE stays)::float8 AS instances,
       count(*) FILTER (WHERE NOT begun)::float8 AS queued,
       coalesce(sum(cpus) FILTER (WHERE begun), 0)::float8 AS cpus,
       coalesce(sum(memory) FILTER (WHERE begun), 0)::float8 AS memory_mib, (
         SELECT coalesce(sum(bytes), 0) FROM layers WHERE digest IN (
           SELECT layer FROM image_layers JOIN images ON uuid = image WHERE images.project = $1
         )
       )::float8 + (SELECT coalesce(sum(size), 0) FROM files WHERE files.project = $1)::float8 AS storage_bytes
     FROM (
       SELECT kind, stays, started_at IS NOT NULL AS begun, CASE WHEN kind = 'instance'
           THEN coalesce((request::jsonb #>> '{resources_limits,cpus}')::int, $2::int) ELSE 0 END AS cpus,
         CASE WHEN kind = 'instance'
           THEN coalesce((request::jsonb #>> '{resources_limits,memory_mib}')::int, $3::int) ELSE 0 END AS memory
       FROM operations WHERE operations.project = $1 AND finished_at IS NULL
     ) AS unfinished`,
    project,
    limits.guestCpusDefault,
    limits.guestMemoryMibDefault,
  );
  const { queued, ...used } = defined(rows[0], 'an aggregate has one row');
  return { project, used, queued, quota: {}, own_quota: {} };
}

/** Returns the space that the contents of all projects take in the object storage. */
async function storedBytes({ parts }: ClusterContext): Promise<GcReport['usage']> {
  const [row] = await parts.database.rows<{ layers: number; files: number }>(
    `SELECT (SELECT coalesce(sum(bytes), 0) FROM layers)::float8 AS layers,
       (SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT sha256, size FROM files) AS contents)::float8 AS files`,
  );
  return [
    { what: 'layers in the object storage', bytes: row?.layers ?? 0 },
    { what: 'uploads in the object storage', bytes: row?.files ?? 0 },
  ];
}

async function clusterCheck({ parts }: ClusterContext): Promise<DoctorCheck> {
  const name = 'cluster';
  try {
    const [row] = await parts.database.rows<{ nodes: number; waiting: number }>(
      `SELECT (SELECT count(*) FROM nodes WHERE lease_until > clock_timestamp())::float8 AS nodes,
         (SELECT count(*) FROM operations WHERE status = 'PENDING')::float8 AS waiting`,
    );
    const detail = `node ${parts.identity.name} of ${row?.nodes ?? 0}, ${row?.waiting ?? 0} operations wait`;
    return { name, status: 'ok', detail };
  } catch (error) {
    const remedy = 'Check that PostgreSQL runs and that --cluster names it.';
    return { name, status: 'failed', detail: (error as Error).message, remedy };
  }
}
