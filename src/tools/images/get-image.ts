import { z } from 'zod';
import { image } from '../support/fields.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { lines, wholeSeconds } from '../support/text.ts';
import { present } from '../../std/present.ts';
import { defineTool } from '../support/tool.ts';
import { lineageUri } from '../support/uris.ts';

export const getImage = defineTool({
  name: 'get_image',
  title: 'Show an image',
  description: 'Free. UUID, tags, parent and creation time of an image or tag.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  input: z.object({ image }),
  output: z.object({
    uuid: z.string(),
    tag: hiddenFromClients(z.string().optional()),
    tags: hiddenFromClients(z.array(z.string()).optional()),
    parent: hiddenFromClients(z.string().optional()),
    created_at: hiddenFromClients(z.string()),
    operation_id: hiddenFromClients(z.string().optional()),
  }),
  handle: async ({ contree, signal }, { image }) => {
    const {
      uuid,
      tag,
      tags,
      parent_uuid: parent,
      created_at,
      operation_uuid,
    } = await contree.images.get(image, signal);
    return present({
      uuid,
      tag: tag ?? undefined,
      tags: tags !== undefined && tags.length > 1 ? tags : undefined,
      parent: parent ?? undefined,
      created_at: wholeSeconds(created_at),
      operation_id: operation_uuid ?? undefined,
    });
  },
  text: ({ uuid, tag, tags, parent, created_at }) =>
    lines(
      `image ${uuid} · created ${created_at}`,
      tag !== undefined && `tags: ${(tags ?? [tag]).map((name) => `tag:${name}`).join(', ')}`,
      parent === undefined ? 'imported (no parent)' : `parent ${parent}`,
    ),
  // What no tool shows.
  links: ({ uuid }) => [{ uri: lineageUri(uuid), name: 'lineage' }],
});
