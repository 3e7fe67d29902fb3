import type { ConTree } from '../../contract/contree.ts';
import { limits } from '../../contract/limits.ts';
import { PERMISSIONS } from '../../contract/permissions.ts';
import { diagnose } from '../health.ts';
import { usageOf } from '../quota/projects.ts';
import type { ProjectContext } from './context.ts';

/** UUID that represents "no token" in answers. */
const NO_TOKEN = '00000000-0000-0000-0000-000000000000';

/**
 * Returns the system group: permissions and limits of a tenant, and `gc` and `doctor` of the whole data directory. The
 * server decides who may call the latter, because only it knows tokens.
 */
export function projectSystem(context: ProjectContext): ConTree['system'] {
  const { store, parts, tenant } = context;
  return {
    whoami: async () => ({
      token_uuid: tenant.token ?? NO_TOKEN,
      token_expiration: tenant.expiresAt ?? null,
      permissions: Object.fromEntries(PERMISSIONS.map((name) => [name, tenant.permissions?.has(name) ?? true])),
      limits: { ...context.bounds, images_import_max_concurrency: limits.importsAtOnce },
      operations_stat: { ...store.operations.counts() },
      project: tenant.project,
    }),
    usage: async () => usageOf(parts, tenant.project),
    gc: async (request = {}) => parts.housekeeping.collect(request),
    doctor: async ({ verify = false } = {}, signal = new AbortController().signal) => {
      const checks = await diagnose(parts.store, parts.driver, { verify, signal });
      return { version: parts.version, checks };
    },
  };
}
