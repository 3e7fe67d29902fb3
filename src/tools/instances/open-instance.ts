import { z } from 'zod';
import { fault } from '../../contract/errors.ts';
import type { InstanceOpenRequest } from '../../contract/instance.ts';
import { limits } from '../../contract/limits.ts';
import { NetworkMode, SandboxName } from '../../contract/run.ts';
import { present } from '../../std/present.ts';
import { image, imageUuid } from '../support/fields.ts';
import { Port, portsOf, portsText } from '../support/operation.ts';
import { operationFault } from '../support/failure.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { lines } from '../support/text.ts';
import { defineTool, type ToolCall } from '../support/tool.ts';

const Input = z.object({
  image,
  publish: z.array(z.int().min(1).max(65_535)).max(limits.portsPublishedMax).optional().describe('ports'),
  env: z.record(z.string(), z.string()).optional(),
  directory_state_id: z.string().optional(),
  idle_timeout: hiddenFromClients(z.int().min(1).max(limits.instanceIdleSecondsMax).optional()),
  disposable: hiddenFromClients(z.boolean().default(false)),
  network: hiddenFromClients(NetworkMode.optional()),
  allow: hiddenFromClients(z.array(z.string()).optional()),
  cpus: hiddenFromClients(z.int().min(1).max(limits.guestCpusMax).optional()),
  memory_mib: hiddenFromClients(z.int().min(limits.guestMemoryMibMin).max(limits.guestMemoryMibMax).optional()),
  sandbox: hiddenFromClients(SandboxName.optional()),
});

export const openInstance = defineTool({
  name: 'open_instance',
  title: 'Open an instance',
  description:
    'Costs a VM (0.5-5 s). Opens a sandbox that stays: run(instance=…) executes in it in milliseconds, its processes go ' +
    'on between calls, and published ports have addresses on this machine. close_instance ends it; unused for 30 ' +
    'min it ends and keeps its files.',
  cost: 'vm',
  effect: 'creates',
  openWorld: true,
  input: Input,
  output: z.object({
    instance: z.string(),
    image_uuid: imageUuid,
    ports: hiddenFromClients(z.array(Port).optional()),
    hint: hiddenFromClients(z.string()),
  }),
  handle: async (call, input) => {
    const { contree, signal } = call;
    // Not aborted with the call: the id of the instance must be known.
    const { uuid } = await contree.instances.open(requestOf(input));
    await untilOpen(call, uuid);
    const { image: from, ports } = await contree.instances.get(uuid, signal);
    const hint = `run(instance="${uuid}", command=…)`;
    return present({ instance: uuid, image_uuid: from, ports: portsOf(ports), hint });
  },
  text: ({ instance, ports, hint }) => lines(`instance ${instance} is open`, portsText(ports), `Next: ${hint}`),
});

function requestOf(input: z.output<typeof Input>): InstanceOpenRequest {
  const { image: from, publish, env, directory_state_id: state, network, allow, cpus, memory_mib } = input;
  const { idle_timeout, disposable, sandbox } = input;
  const resources = present({ cpus, memory_mib });
  return {
    image: from,
    disposable,
    ...present({
      env,
      publish: publish?.map((port) => ({ port })),
      idle_timeout,
      sandbox,
      directory_states: state === undefined ? undefined : [state],
      networking: network || allow ? present({ mode: network ?? 'allowlist', allow }) : undefined,
      resources_limits: Object.keys(resources).length > 0 ? resources : undefined,
    }),
  };
}

/** Waits until commands can be executed in the instance. Rejects with the fault for which it could not start. */
async function untilOpen({ contree, signal }: ToolCall, uuid: string): Promise<void> {
  try {
    for await (const { type } of contree.operations.events(uuid, { follow: true }, signal)) if (type === 'init') return;
  } catch (error) {
    // Nobody would know of an instance whose opening was interrupted.
    if (signal.aborted) await contree.operations.cancel(uuid).catch(() => undefined);
    throw error;
  }
  const operation = await contree.operations.get(uuid, { output_bytes: 0 }, signal);
  if (operation.status === 'CANCELLED') throw fault('OPERATION_CANCELLED', { operation: uuid });
  throw operationFault(operation, {});
}
