import { z } from 'zod';
import { registryHostOf, tokenPageOf } from './registry-hosts.ts';
import { aside } from './schema.ts';
import { lines } from './text.ts';
import { defineTool } from './tool.ts';

const Output = z.object({
  status: aside(z.enum(['known', 'unknown'])),
  registry: z.string(),
  url: z.string().optional(),
  scope: aside(z.string().optional()),
  next: z.string(),
});

export const registryTokenObtain = defineTool({
  name: 'registry_token_obtain',
  title: 'Where to get a registry token',
  description:
    'Free. The page on which the user makes an access token for a registry, and the scope it needs. Then registry_auth.',
  cost: 'free',
  effect: 'ensures',
  openWorld: true,
  offline: true,
  input: z.object({ registry_url: z.string().min(1).max(2_048) }),
  output: Output,
  handle: async (_call, { registry_url }): Promise<z.infer<typeof Output>> => {
    const registry = registryHostOf(registry_url);
    const page = tokenPageOf(registry);
    const next = `Show the page to the user, then call registry_auth(registry_url="${registry}").`;
    return page === undefined
      ? {
          status: 'unknown',
          registry,
          next: `Ask the user where ${registry} issues access tokens, then call registry_auth.`,
        }
      : { status: 'known', registry, url: page.url, scope: page.scope, next };
  },
  text: ({ registry, url, scope, next }) =>
    lines(`${registry}: ${url ?? 'no token page is known'}`, scope && `scope: ${scope}`, `Next: ${next}`),
});
