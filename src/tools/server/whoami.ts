import { z } from 'zod';
import { hiddenFromClients } from '../support/schema.ts';
import { lines } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';

export const whoami = defineTool({
  name: 'whoami',
  title: 'Show limits and costs',
  description: 'Free. Permissions, limits, costs, operations by status.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  input: z.object({}),
  output: z.object({
    permissions: hiddenFromClients(z.array(z.string())),
    denied: hiddenFromClients(z.array(z.string()).optional()),
    limits: hiddenFromClients(z.record(z.string(), z.int())),
    operations: hiddenFromClients(z.record(z.string(), z.int())),
    costs: hiddenFromClients(z.object({ vm: z.array(z.string()), free: z.string() })),
    env_from: hiddenFromClients(z.array(z.string()).optional()),
    token_expiration: hiddenFromClients(z.string().optional()),
  }),
  handle: async ({ contree, signal, hostEnv = {} }) => {
    const { permissions, limits, operations_stat, token_expiration } = await contree.system.whoami(signal);
    const names = (allowed: boolean): string[] =>
      Object.keys(permissions).filter((name) => permissions[name] === allowed);
    return {
      permissions: names(true),
      ...(names(false).length > 0 && { denied: names(false) }),
      limits,
      operations: operations_stat,
      costs: { vm: ['run', 'import_image', 'build_image', 'open_instance'], free: 'every other tool' },
      ...(Object.keys(hostEnv).length > 0 && { env_from: Object.keys(hostEnv) }),
      ...(token_expiration !== null && { token_expiration: new Date(token_expiration * 1_000).toISOString() }),
    };
  },
  text: ({ permissions, denied, limits, operations, costs, env_from, token_expiration }) =>
    lines(
      `allowed: ${permissions.join(', ')}`,
      denied && `not allowed: ${denied.join(', ')}`,
      `limits: ${pairs(limits)}`,
      `operations: ${pairs(operations)}`,
      `cost a VM: ${costs.vm.join(', ')}; free: ${costs.free}`,
      env_from && `run(env_from=[…]) may name: ${env_from.join(', ')}`,
      token_expiration && `token expires ${token_expiration}`,
    ),
});

function pairs(values: Readonly<Record<string, number>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}
