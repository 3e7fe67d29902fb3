import { z } from 'zod';
import { isFault, limits, type ConTree } from '../contract/index.ts';
import { hint, image } from './fields.ts';
import { aside } from './schema.ts';
import { defineTool } from './tool.ts';

export const setTag = defineTool({
  name: 'set_tag',
  title: 'Tag or untag an image',
  description:
    'Free. Points a tag at an image, for use as image="tag:NAME"; moves it if it exists and says where it was. Name tags ' +
    "{scope}/{purpose}/{base}: common/python-ml/python:3.11-slim. Without tag, removes the image's.",
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
  }),
  output: z.object({
    uuid: z.string(),
    tag: z.string().optional(),
    previous_uuid: z.string().optional(),
    removed: aside(z.string().optional()),
    hint,
  }),
  handle: async ({ contree, signal }, { image_uuid, tag: given }) => {
    const tag = given?.replace(/^tag:/u, '');
    if (!tag) {
      const before = await contree.getImage(image_uuid, signal);
      if (before.tag === null) return { uuid: before.uuid, hint: 'The image has no tag; nothing was removed.' };
      await contree.removeTag(before.uuid, before.tag, signal);
      return {
        uuid: before.uuid,
        removed: before.tag,
        hint: `set_tag(image_uuid="${before.uuid}", tag="${before.tag}") undoes this.`,
      };
    }
    const previous = await holderOf(contree, tag, signal);
    const { uuid } = await contree.setTag(image_uuid, tag, signal);
    const moved = previous !== undefined && previous !== uuid;
    return {
      uuid,
      tag,
      ...(moved && { previous_uuid: previous }),
      hint: moved
        ? `set_tag(image_uuid="${previous}", tag="${tag}") undoes this.`
        : `run(image="tag:${tag}", command="…") uses it.`,
    };
  },
  text: ({ uuid, tag, previous_uuid, removed, hint }) => {
    const done = tag === undefined ? `tag:${removed ?? '-'} removed from ${uuid}` : `tag:${tag} is image ${uuid}`;
    return `${done}${previous_uuid === undefined ? '' : `, was ${previous_uuid}`}${hint ? `\nNext: ${hint}` : ''}`;
  },
});

/** The image that has the tag now. */
async function holderOf(contree: ConTree, tag: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    return (await contree.getImage(`tag:${tag}`, signal)).uuid;
  } catch (error) {
    // Whether the tag is well-formed is for setTag to say.
    if (isFault(error, 'IMAGE_NOT_FOUND', 'TAG_NOT_FOUND', 'TAG_INVALID')) return undefined;
    throw error;
  }
}
