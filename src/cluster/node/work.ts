import { z } from 'zod';
import type { BuildRequest } from '../../contract/build.ts';
import type { ConTree } from '../../contract/contree.ts';
import type { ArchiveImportRequest, ImageImportRequest } from '../../contract/image.ts';
import type { InstanceOpenRequest } from '../../contract/instance.ts';
import { PERMISSIONS } from '../../contract/permissions.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import type { Tenant } from '../../engine/project/tenant.ts';

/** Request of an operation, with its secrets, as the node that executes it starts it. */
export type ClusterWork =
  | { readonly method: 'run'; readonly request: InstanceSpawnRequest }
  | { readonly method: 'open'; readonly request: InstanceOpenRequest }
  | { readonly method: 'import'; readonly request: ImageImportRequest }
  | { readonly method: 'archive'; readonly request: ArchiveImportRequest }
  | { readonly method: 'build'; readonly request: BuildRequest };

/** Tenant for which an operation is executed; its limits were applied when it was accepted. */
const WorkTenant = z.object({
  project: z.string(),
  token: z.string().optional(),
  permissions: z.array(z.enum(PERMISSIONS)).optional(),
  isOwner: z.boolean().optional(),
});

const Envelope = z.object({
  method: z.enum(['run', 'open', 'import', 'archive', 'build']),
  request: z.looseObject({}),
  tenant: WorkTenant,
});

/** Returns what is sealed for the node that will execute the work. */
export function envelopeOf(
  work: ClusterWork,
  { project, token, permissions, isOwner }: Tenant,
): z.infer<typeof Envelope> {
  return {
    ...work,
    tenant: {
      project,
      ...(token !== undefined && { token }),
      ...(permissions !== undefined && { permissions: [...permissions] }),
      ...(isOwner !== undefined && { isOwner }),
    },
  };
}

/** Returns the work of an envelope. Only nodes of the cluster can have sealed it, so its request is as it was checked. */
export function openedEnvelope(value: unknown): { readonly work: ClusterWork; readonly tenant: Tenant } {
  const { tenant, method, request } = Envelope.parse(value);
  const { permissions, token, isOwner, project } = tenant;
  return {
    work: { method, request } as unknown as ClusterWork,
    tenant: {
      project,
      ...(token !== undefined && { token }),
      ...(isOwner !== undefined && { isOwner }),
      ...(permissions !== undefined && { permissions: new Set(permissions) }),
    },
  };
}

/** Files and directory states that work reads. */
export interface WorkInputs {
  /** UUIDs or digests of uploads. */
  readonly files: readonly string[];
  readonly states: readonly string[];
}

export function inputsOf({ method, request }: ClusterWork): WorkInputs {
  if (method === 'import') return { files: [], states: [] };
  if (method === 'archive') return { files: [request.file], states: [] };
  if (method === 'build') {
    const { file, directory_state: state } = request.context ?? {};
    return { files: file === undefined ? [] : [file], states: state === undefined ? [] : [state] };
  }
  return { files: Object.values(request.files ?? {}).map(({ uuid }) => uuid), states: request.directory_states ?? [] };
}

/** Returns the work with its uploads named by their digests: every node has UUIDs of its own for them. */
export function withDigests(work: ClusterWork, digestOf: (file: string) => string): ClusterWork {
  const { method, request } = work;
  if (method === 'import') return work;
  if (method === 'archive') return { method, request: { ...request, file: digestOf(request.file) } };
  if (method === 'build') {
    const { context } = request;
    if (context?.file === undefined) return work;
    return { method, request: { ...request, context: { ...context, file: digestOf(context.file) } } };
  }
  if (request.files === undefined) return work;
  const files = Object.fromEntries(
    Object.entries(request.files).map(([path, spec]) => [path, { ...spec, uuid: digestOf(spec.uuid) }]),
  );
  return { ...work, request: { ...request, files } } as ClusterWork;
}

/** Starts work on an engine; its answer is the operation that was accepted. */
export async function startWork(contree: ConTree, work: ClusterWork): Promise<void> {
  if (work.method === 'run') await contree.runs.start(work.request);
  else if (work.method === 'open') await contree.instances.open(work.request);
  else if (work.method === 'import') await contree.images.import(work.request);
  else if (work.method === 'archive') await contree.images.importArchive(work.request);
  else await contree.images.build(work.request);
}
