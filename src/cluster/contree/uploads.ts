import type { ConTree } from '../../contract/contree.ts';
import { defined } from '../../std/assert.ts';
import type { ClusterContext } from './context.ts';

const NEVER = new AbortController().signal;

/** Returns the uploads group of a project: stored by the own engine, then for all nodes, then recorded. */
export function clusterUploads(context: ClusterContext): ConTree['uploads'] {
  const { own, uploads, parts, project } = context;
  const { adoption } = parts;
  return {
    list: async (query = {}) => uploads.list(query),
    get: async (id) => uploads.get(id),
    create: async (content, signal) => {
      const file = await own.uploads.create(content, signal);
      await adoption.share(project, [file], signal ?? NEVER);
      return defined((await uploads.record([file]))[0], 'a file that was recorded is returned');
    },
    createMany: async (content, signal) => {
      const files = await own.uploads.createMany(content, signal);
      await adoption.share(project, files, signal ?? NEVER);
      return await uploads.record(files);
    },
    offerDirectory: async (request, signal = NEVER) => {
      const named = [...new Set(request.entries.flatMap(({ sha256 }) => sha256 ?? []))];
      const missing = await uploads.missing(named);
      // The own engine checks the entries first, and may lack contents that the cluster has.
      const first = await own.uploads.offerDirectory(request, signal);
      if (missing.length > 0) return { missing: named.filter((sha256) => missing.includes(sha256)) };
      if (first.state === undefined) await adoption.files(project, first.missing, signal);
      const offered = first.state === undefined ? await own.uploads.offerDirectory(request, signal) : first;
      if (offered.state === undefined) return offered;
      await adoption.shareState(project, offered.state, signal);
      return { state: (await uploads.state(offered.state.id)).state, missing: [] };
    },
  };
}
