import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { isTag, isUuid } from '../../contract/names.ts';
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

/** Checks the tag of a request, if it has one. Faults: TAG_INVALID. */
export function checkTag(tag: string | undefined): void {
  if (tag !== undefined && !isTag(tag)) throw fault('TAG_INVALID', { tag });
}

/**
 * Refuses to delete an image that was named by one of its tags while it has others, which the caller may not know. A UUID
 * is the image itself. Faults: IMAGE_IN_USE.
 */
export function checkOtherTags(image: string, tags: readonly string[]): void {
  const others = isUuid(image) ? [] : tags.filter((name) => image !== `tag:${name}`);
  if (others.length === 0) return;
  const shown = [...others.slice(0, 3), ...(others.length > 3 ? ['…'] : [])].join(', ');
  throw fault('IMAGE_IN_USE', { image, by: `its other tag${others.length === 1 ? '' : 's'} ${shown}` });
}
