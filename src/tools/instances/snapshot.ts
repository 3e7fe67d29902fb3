import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import { present } from '../../std/present.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { defineTool } from '../support/tool.ts';
import { instance, openInstanceNamed } from './instance.ts';

export const snapshot = defineTool({
  name: 'snapshot',
  title: 'Make an image of an instance',
  description:
    'Free. Makes an image of the files of an open instance, which goes on: a state to branch from or return to.',
  cost: 'free',
  effect: 'creates',
  openWorld: false,
  input: z.object({ instance, tag: z.string().max(limits.tagBytesMax).optional() }),
  output: z.object({ image_uuid: z.string(), filesystem_changed: hiddenFromClients(z.boolean().optional()) }),
  handle: async ({ contree, signal }, { instance: name, tag }) => {
    const uuid = await openInstanceNamed(contree, name, signal);
    const { image, changed } = await contree.instances.snapshot(uuid, present({ tag }), signal);
    return { image_uuid: image, ...(!changed && { filesystem_changed: false }) };
  },
  text: ({ image_uuid, filesystem_changed }) =>
    `image ${image_uuid}${filesystem_changed === false ? ' · nothing changed since the last one' : ''}`,
});
