import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import { present } from '../../std/present.ts';
import { untilFinished } from '../support/follow.ts';
import { operationText, resultFields } from '../support/operation.ts';
import { outcomeOf } from '../support/outcome.ts';
import { defineTool } from '../support/tool.ts';
import { instance, openInstanceNamed } from './instance.ts';

const { image_uuid, tag, filesystem_changed, status, operation_id, hint } = resultFields;

export const closeInstance = defineTool({
  name: 'close_instance',
  title: 'Close an instance',
  description: 'Free. Ends an instance and its processes; its files become image_uuid unless keep=false.',
  cost: 'free',
  effect: 'replaces',
  openWorld: false,
  input: z.object({
    instance,
    keep: z.boolean().optional(),
    tag: z.string().max(limits.tagBytesMax).optional(),
  }),
  output: z.object({ image_uuid, tag, filesystem_changed, status, operation_id, hint }),
  handle: async ({ contree, signal }, { instance: name, keep, tag: wanted }) => {
    const uuid = await openInstanceNamed(contree, name, signal);
    await contree.instances.close(uuid, present({ keep, tag: wanted }), signal);
    const operation = await untilFinished(contree, uuid, { outputBytes: 0, signal });
    const outcome = await outcomeOf(operation, { contree, outputBytesMax: 0, signal });
    return present({ ...outcome, tag: wanted, hint: undefined });
  },
  text: operationText,
});
