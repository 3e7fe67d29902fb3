import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import type { ProjectContext } from './context.ts';

/** Returns the tags group of a project. */
export function projectTags({ store }: ProjectContext): ConTree['tags'] {
  return {
    set: async (image, { tag }) => {
      const { uuid } = store.images.resolve(image);
      store.tags.set(tag, uuid);
      return store.images.describe(uuid);
    },
    remove: async (image, { tag } = {}) => {
      const { uuid } = store.images.resolve(image);
      const tags = store.tags.of(uuid);
      if (tag !== undefined && !tags.includes(tag)) throw fault('TAG_NOT_FOUND', { tag });
      store.transaction(() => {
        for (const doomed of tag === undefined ? tags : [tag]) store.tags.remove(doomed);
      });
    },
  };
}
