import type { ConTree } from '../../contract/contree.ts';
import type { ProjectContext } from './context.ts';

/** Returns the uploads group of a project. */
export function projectUploads({ store, parts }: ProjectContext): ConTree['uploads'] {
  return {
    list: async (query = {}) => store.files.list(query),
    get: async (id) => store.files.get(id),
    create: async (content, signal) => {
      using _hold = store.hold();
      return await store.files.write(parts.quotas.bounded(store.project, content), signal);
    },
    createMany: async (content, signal) => {
      using _hold = store.hold();
      return await store.files.writeMany(parts.quotas.bounded(store.project, content), signal);
    },
    offerDirectory: async ({ entries }) => {
      using _hold = store.hold();
      return await store.states.offer(entries);
    },
  };
}
