import type { ContreeServer } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import type { Call } from './call.ts';

/** Groups of the API that an engine itself does not have: its process, and the tokens, projects and pages of a server. */
export const SERVER_GROUPS: {
  readonly [Group in 'engine' | 'tokens' | 'projects' | 'pages']: (call: Call) => ContreeServer[Group];
} = {
  engine: ({ engine }) => {
    if (engine === undefined) throw fault('ROUTE_NOT_FOUND', { route: 'engine' });
    const { version, startedAt, busy, stop } = engine;
    return {
      status: async () => ({ version, pid: process.pid, started_at: startedAt.toISOString(), busy: await busy() }),
      stop: async ({ only_idle } = {}) => {
        if (only_idle && (await busy())) throw fault('ENGINE_BUSY', {});
        stop();
      },
    };
  },
  pages: ({ pages, principal, contree }) => ({
    link: async (instance, port, signal) => {
      await contree.instances.get(instance, signal);
      const url = pages?.linkFor(principal, { instance, port });
      if (url === undefined) throw fault('PAGES_UNAVAILABLE', {});
      return { url };
    },
  }),
  projects: ({ projects }) => {
    if (projects === undefined) throw fault('ROUTE_NOT_FOUND', { route: 'projects' });
    return projects;
  },
  tokens: ({ tokens, principal }) => {
    if (tokens === undefined) throw fault('ROUTE_NOT_FOUND', { route: 'tokens' });
    return {
      list: () => tokens.list(),
      create: (request = {}) => tokens.create({ ...request, project: request.project ?? principal.project }),
      revoke: async (uuid) => {
        if (await tokens.revoke(uuid)) return;
        throw fault('TOKEN_NOT_FOUND', { token: JSON.stringify(uuid.slice(0, 100)) });
      },
    };
  },
};
