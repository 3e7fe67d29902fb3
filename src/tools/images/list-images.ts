import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import type { Image } from '../../contract/image.ts';
import { present } from '../../std/present.ts';
import { count, hint, offset, pageSize, since, until } from '../support/fields.ts';
import { pageOf } from '../support/page.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { counted, lines, wholeSeconds } from '../support/text.ts';
import { timeFilters } from '../support/time.ts';
import { defineTool } from '../support/tool.ts';

export const listImages = defineTool({
  name: 'list_images',
  title: 'List images',
  description:
    'Free. Images, newest first. Call it first: a tagged environment (tag_prefix="common/" or your project) saves ' +
    'importing and installing.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  input: z.object({
    limit: pageSize(limits.pageMax).default(50),
    offset,
    tagged: z.boolean().optional(),
    tag_prefix: z.string().max(limits.tagBytesMax).optional(),
    since,
    until,
  }),
  output: z.object({
    images: z.array(
      z.object({
        uuid: z.string(),
        tag: z.string().optional(),
        created_at: hiddenFromClients(z.string()),
      }),
    ),
    next_offset: hiddenFromClients(count.optional()),
    hint,
  }),
  handle: async ({ contree, signal }, { limit, offset, tagged, tag_prefix, ...times }) => {
    const wanted = Math.min(limit + 1, limits.pageMax);
    const query = {
      limit: wanted,
      offset,
      ...present({ tagged, tag: tag_prefix?.replace(/^tag:/u, '') }),
      ...timeFilters(times),
    };
    const found = await contree.images.list(query, signal);
    const { items, nextOffset } = pageOf(found.slice(0, limit).map(itemOf), { offset, more: found.length === wanted });
    const next = items.length === 0 ? emptyHint(tag_prefix, offset) : undefined;
    return { images: [...items], ...present({ next_offset: nextOffset, hint: next }) };
  },
  text: ({ images, next_offset, hint }) =>
    lines(
      `${counted(images.length, 'image')}${next_offset === undefined ? '' : `; more from offset=${next_offset}`}`,
      ...images.map(({ uuid, tag, created_at }) => `${uuid}  ${created_at}  ${tag === undefined ? '-' : `tag:${tag}`}`),
      hint && `Next: ${hint}`,
    ),
});

function itemOf({ uuid, tag, created_at }: Image): { uuid: string; tag?: string; created_at: string } {
  return present({ uuid, tag: tag ?? undefined, created_at: wholeSeconds(created_at) });
}

function emptyHint(prefix: string | undefined, offset: number): string {
  if (offset > 0) return 'No more images; call list_images with a smaller offset.';
  const prepare = 'import_image(registry_url="docker://python:3.11-slim") makes one';
  return prefix === undefined
    ? `No image yet; ${prepare}.`
    : `No tag begins with "${prefix}"; try a shorter tag_prefix, or ${prepare}.`;
}
