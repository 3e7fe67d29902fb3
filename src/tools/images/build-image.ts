import { z } from 'zod';
import type { BuildRequest } from '../../contract/build.ts';
import { buildSteps } from './build-steps.ts';
import type { ConTree } from '../../contract/contree.ts';
import { SPID_INIT } from '../../contract/event.ts';
import { limits } from '../../contract/limits.ts';
import { isFinished } from '../../contract/operation.ts';
import { streamBytes } from '../../contract/stream.ts';
import { present } from '../../std/present.ts';
import { followOwn } from '../support/follow.ts';
import { operationText, resultFields } from '../support/operation.ts';
import { outcomeOf } from '../support/outcome.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { lines, plainName } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';

/** Steps that a result shows, from the last one back. */
const STEPS_SHOWN_MAX = 100;
const INSTRUCTION_CHARACTERS_MAX = 160;

const Input = z.object({
  dockerfile: z.string().min(1).max(limits.dockerfileBytesMax).optional().describe('text, or path there'),
  directory_state_id: z.string().optional(),
  target: z.string().max(256).optional(),
  build_args: z.record(z.string(), z.string()).optional(),
  tag: z
    .string()
    .max(limits.tagBytesMax + 4)
    .optional(),
  wait: hiddenFromClients(z.boolean().default(true)),
  timeout: hiddenFromClients(z.int().min(1).max(limits.commandTimeoutSecondsMax).optional()),
  no_cache: hiddenFromClients(z.boolean().default(false)),
});

const Step = z.object({
  instruction: z.string(),
  image_uuid: z.string(),
  cached: z.literal(true).optional(),
});

const { operation_id, status, image_uuid, tag, duration_s, error, hint } = resultFields;

export const buildImage = defineTool({
  name: 'build_image',
  title: 'Build an image',
  description:
    'Costs a VM (seconds to minutes). Builds a Dockerfile; its context: rsync(destination="/"). Unchanged steps are ' +
    'reused; a failed one names the image before it.',
  cost: 'vm',
  effect: 'creates',
  openWorld: true,
  input: Input,
  output: z.object({
    image_uuid,
    tag,
    steps: hiddenFromClients(z.array(Step).optional()),
    error,
    status: hiddenFromClients(status),
    duration_s,
    operation_id: hiddenFromClients(operation_id),
    hint,
  }),
  handle: async (call, input) => {
    const { contree, signal } = call;
    // Not aborted with the call: the id of the started build must be known.
    const { uuid } = await contree.images.build(requestOf(input));
    const options = { contree, outputBytesMax: 0, signal };
    if (!input.wait) return { status: 'PENDING' as const, operation_id: uuid };
    const operation = await followOwn(call, uuid, {
      timeoutSeconds: limits.commandTimeoutSecondsMax,
      outputBytes: 0,
    });
    const outcome = await outcomeOf(operation, options);
    return isFinished(operation.status) ? { ...outcome, steps: await stepsOf(contree, uuid, signal) } : outcome;
  },
  text: ({ steps = [], ...answer }) =>
    lines(
      operationText(answer),
      ...steps.map(
        ({ instruction, image_uuid: image, cached }) => `${image} ${cached ? 'reused ' : ''}${plainName(instruction)}`,
      ),
    ),
});

function requestOf(input: z.output<typeof Input>): BuildRequest {
  const { dockerfile, directory_state_id: state, target, build_args, tag: wanted, timeout, no_cache } = input;
  // No instruction is a single word, and no usual path has a space.
  const isPath = dockerfile !== undefined && !/\s/u.test(dockerfile.trim());
  return present({
    ...(isPath ? { dockerfile: dockerfile.trim() } : { dockerfile_text: dockerfile }),
    context: state === undefined ? undefined : { directory_state: state },
    target,
    build_args,
    tag: wanted?.replace(/^tag:/u, '') || undefined,
    timeout,
    no_cache: no_cache || undefined,
  });
}

/** Returns the steps that have an image of their own, from the log of a build that has ended. */
async function stepsOf(contree: ConTree, build: string, signal: AbortSignal): Promise<z.output<typeof Step>[]> {
  const chunks: Buffer[] = [];
  for await (const { type, data } of contree.operations.events(build, { spid: SPID_INIT }, signal)) {
    if (type === 'stdout') chunks.push(streamBytes(data));
  }
  const told = Buffer.concat(chunks).toString('utf8').split('\n');
  return buildSteps(told)
    .slice(-STEPS_SHOWN_MAX)
    .flatMap(({ text, state, image }) => {
      if (image === undefined || state === 'failed') return [];
      const instruction = text.slice(0, INSTRUCTION_CHARACTERS_MAX);
      return [{ instruction, image_uuid: image, ...(state === 'cached' && { cached: true as const }) }];
    });
}
