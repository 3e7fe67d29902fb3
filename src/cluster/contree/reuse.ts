import { randomUUID } from 'node:crypto';
import type { File } from '../../contract/file.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import { injectedSet } from '../../engine/run/injected-set.ts';
import type { RunPlan } from '../../engine/run/plan.ts';
import { reuseKey } from '../../engine/run/reuse.ts';
import { defined } from '../../std/assert.ts';
import type { OperationOutcome } from '../../store/operations.ts';
import { inputsOf } from '../node/work.ts';
import type { ClusterContext } from './context.ts';

/**
 * Returns the key of a run, the same on every node; undefined for one that is never reused. Faults: UPLOAD_NOT_FOUND,
 * DIRECTORY_STATE_NOT_FOUND, PATH_INVALID, LAYER_LIMIT.
 */
export async function reuseKeyOf(
  { parts, uploads, project }: ClusterContext,
  request: InstanceSpawnRequest,
  plan: RunPlan,
): Promise<string | undefined> {
  const inputs = inputsOf({ method: 'run', request });
  const files = new Map<string, File>();
  for (const id of inputs.files) files.set(id, await uploads.get(id));
  const states = new Map<string, Awaited<ReturnType<typeof uploads.state>>>();
  for (const id of inputs.states) states.set(id, await uploads.state(id));
  const injected = injectedSet(
    {
      files: { get: (id) => defined(files.get(id), 'a file of the request was looked up') },
      states: {
        ensure: (id) => defined(states.get(id), 'a state of the request was looked up').state,
        entries: () => Promise.reject(new Error('only the identity of the set is asked for')),
      },
    },
    request,
  );
  const recordedRuns = { keyOf: (text: string) => parts.secret.reuseKey(project, text) };
  return reuseKey({ recordedRuns }, { image: request.image, request, plan, injected });
}

interface RecordedRow {
  readonly uuid: string;
  readonly outcome: string | null;
  readonly age: number;
}

/** Creates an operation with the recorded result of an equal run, if the request asks for one and there is one. */
export async function reusedOperation(
  { parts, project, tenant }: ClusterContext,
  { reuse, sandbox }: InstanceSpawnRequest,
  run: { readonly reuseKey: string | undefined; readonly record: object },
): Promise<string | undefined> {
  if (!reuse || run.reuseKey === undefined) return undefined;
  const named = sandbox === undefined || sandbox === 'auto' ? null : sandbox;
  return parts.database.transaction(async (sql) => {
    const [earlier] = await sql.rows<RecordedRow>(
      `SELECT uuid, outcome, extract(epoch FROM clock_timestamp() - finished_at)::float8 AS age
         FROM recorded_runs JOIN operations ON uuid = operation
        WHERE recorded_runs.project = $1 AND key = $2 AND (NOT network OR $3) AND ($4::text IS NULL OR sandbox = $4)
          AND status = 'SUCCESS' AND (result_image IS NULL OR EXISTS (
            SELECT FROM images WHERE images.uuid = result_image FOR KEY SHARE
          )) ORDER BY finished_at DESC LIMIT 1`,
      project,
      run.reuseKey ?? '',
      reuse === 'network',
      named,
    );
    if (earlier === undefined) return undefined;
    const uuid = randomUUID();
    const known = JSON.parse(earlier.outcome ?? '{}') as OperationOutcome;
    // Nothing was consumed this time; the log has the resources of the earlier run.
    const { resources: _resources, ...outcome } = known;
    const reused = { operation: earlier.uuid, age: Math.max(0, earlier.age) };
    await sql.run(
      `INSERT INTO operations (uuid, project, token, kind, status, request, image, result_image, image_bytes, outcome,
         log, log_object, log_bytes, started_at, finished_at)
       SELECT $1, project, $3, kind, 'SUCCESS', $4, image, result_image, image_bytes, $5, log, log_object, log_bytes,
         clock_timestamp(), clock_timestamp() FROM operations WHERE uuid = $2`,
      uuid,
      earlier.uuid,
      tenant.token ?? null,
      JSON.stringify(run.record),
      JSON.stringify({ ...outcome, reused }),
    );
    return uuid;
  });
}
