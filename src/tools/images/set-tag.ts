import { z } from 'zod';
import { fault, isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { ConTree } from '../../contract/contree.ts';
import { present } from '../../std/present.ts';
import { hint, image } from '../support/fields.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { defineTool } from '../support/tool.ts';

export const setTag = defineTool({
  name: 'set_tag',
  title: 'Tag or untag an image',
  description:
    'Free. Points a tag at an image; moves an existing one. Name tags {scope}/{purpose}/{base}: ' +
    "common/python-ml/python:3.11-slim. Without tag, removes the image's.",
  cost: 'free',
  effect: 'replaces',
  openWorld: false,
  aliases: { image: 'image_uuid' },
  input: z.object({
    image_uuid: image,
    tag: z
      .string()
      .max(limits.tagBytesMax + 4)
      .optional(),
    force: z.boolean().default(false).describe('move without asking'),
  }),
  output: z.object({
    uuid: hiddenFromClients(z.string()),
    tag: hiddenFromClients(z.string().optional()),
    previous_uuid: hiddenFromClients(z.string().optional()),
    removed: hiddenFromClients(z.string().optional()),
    hint,
  }),
  handle: async ({ contree, signal, ask }, { image_uuid, tag: given, force }) => {
    const tag = given?.replace(/^tag:/u, '');
    if (!tag) {
      const before = await contree.images.get(image_uuid, signal);
      if (before.tag === null) return { uuid: before.uuid, hint: 'The image has no tag; nothing was removed.' };
      await contree.tags.remove(before.uuid, { tag: before.tag }, signal);
      return { uuid: before.uuid, removed: before.tag };
    }
    const previous = await holderOf(contree, tag, signal);
    const { uuid } = previous === undefined ? { uuid: image_uuid } : await contree.images.get(image_uuid, signal);
    const moved = previous !== undefined && previous !== uuid;
    if (moved && !force) {
      const message = `Move tag:${tag} from image ${previous} to image ${uuid}?`;
      const answer = await ask({ about: `move tag:${tag} to ${uuid}`, message });
      // Never a success: the next run on the tag would use the old image.
      if (answer === 'declined' || answer === 'dismissed') throw fault('TAG_NOT_MOVED', { tag, image: uuid, answer });
    }
    return await pointed(contree, { uuid, tag, previous: moved ? previous : undefined }, signal);
  },
  text: ({ uuid, tag, previous_uuid, removed, hint }) => {
    const done = tag === undefined ? `tag:${removed ?? '-'} removed from ${uuid}` : `tag:${tag} is image ${uuid}`;
    return `${done}${previous_uuid === undefined ? '' : `, was ${previous_uuid}`}${hint ? `\nNext: ${hint}` : ''}`;
  },
});

interface Move {
  readonly uuid: string;
  readonly tag: string;
  /** UUID of the image that loses the tag. */
  readonly previous: string | undefined;
}

async function pointed(
  contree: ConTree,
  { uuid: image, tag, previous }: Move,
  signal: AbortSignal,
): Promise<{ uuid: string; tag: string; previous_uuid?: string }> {
  const { uuid } = await contree.tags.set(image, { tag }, signal);
  return present({ uuid, tag, previous_uuid: previous });
}

/** Returns the UUID of the image that has the tag now. */
async function holderOf(contree: ConTree, tag: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    return (await contree.images.get(`tag:${tag}`, signal)).uuid;
  } catch (error) {
    // A malformed tag is reported by setTag.
    if (isFault(error, 'IMAGE_NOT_FOUND', 'TAG_NOT_FOUND', 'TAG_INVALID')) return undefined;
    throw error;
  }
}
