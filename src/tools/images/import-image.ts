import { z } from 'zod';
import { isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { ConTree } from '../../contract/contree.ts';
import type { Image } from '../../contract/image.ts';
import { followOwn } from '../support/follow.ts';
import { operationText, resultFields, summarize } from '../support/operation.ts';
import { outcomeOf } from '../support/outcome.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { defineTool } from '../support/tool.ts';

const { operation_id, status, image_uuid, tag, duration_s, error, hint } = resultFields;

const Output = z.object({
  error,
  image_uuid,
  tag,
  status,
  duration_s,
  operation_id: operation_id.optional(),
  hint,
});

export const importImage = defineTool({
  name: 'import_image',
  title: 'Import an image',
  description:
    'Costs as much as a VM (seconds to minutes). Makes an image of docker://python:3.11-slim, ' +
    'docker://ghcr.io/owner/app:1 or a short name. Check list_images first. An existing tag is returned unless force=true.',
  cost: 'vm',
  effect: 'creates',
  openWorld: true,
  input: z.object({
    registry_url: z.string().min(1).max(2_048),
    tag: z.string().max(limits.tagBytesMax).optional(),
    wait: z.boolean().default(true),
    timeout: z.int().min(1).max(limits.importTimeoutSecondsMax).default(limits.importTimeoutSecondsDefault),
    force: z.boolean().default(false),
    /** Accepted because earlier servers required it; anonymous pulls need no consent here. */
    i_accept_that_anonymous_access_might_be_rate_limited: hiddenFromClients(z.boolean().optional()),
  }),
  output: Output,
  handle: async (call, { registry_url, tag: wanted, wait, timeout, force }): Promise<z.infer<typeof Output>> => {
    const { contree, signal } = call;
    const tag = wanted?.replace(/^tag:/u, '');
    const existing = tag && !force ? await findTagged(contree, tag, signal) : undefined;
    if (existing !== undefined) {
      const origin = await originOf(contree, existing, signal);
      const hint = `Not imported: tag:${tag} exists, and its image${origin} was returned; force=true imports and moves the tag.`;
      return { status: 'SUCCESS', image_uuid: existing.uuid, tag, hint };
    }
    // Not aborted with the call: the id of the started import must be known.
    const { uuid } = await contree.images.import({ registry: { url: registry_url }, ...(tag && { tag }), timeout });
    const options = { contree, outputBytesMax: 0, signal };
    if (!wait) {
      const { hint: _, ...started } = await summarize(await contree.operations.get(uuid, {}, signal), options);
      return started;
    }
    return await outcomeOf(await followOwn(call, uuid, { timeoutSeconds: timeout, outputBytes: 0 }), options);
  },
  text: operationText,
});

/** Returns how an image came to be, for a hint; empty when that is not known any more. */
async function originOf(contree: ConTree, image: Image, signal: AbortSignal): Promise<string> {
  if (image.parent_uuid) return ', which a run made,';
  if (image.operation_uuid === null) return '';
  try {
    const { metadata } = await contree.operations.get(image.operation_uuid, {}, signal);
    return 'registry' in metadata ? `, imported from ${JSON.stringify(metadata.registry.url)},` : '';
  } catch (error) {
    if (isFault(error, 'OPERATION_NOT_FOUND')) return '';
    throw error;
  }
}

async function findTagged(contree: ConTree, tag: string, signal: AbortSignal): Promise<Image | undefined> {
  try {
    return await contree.images.get(`tag:${tag}`, signal);
  } catch (error) {
    if (isFault(error, 'IMAGE_NOT_FOUND', 'TAG_NOT_FOUND')) return undefined;
    throw error;
  }
}
