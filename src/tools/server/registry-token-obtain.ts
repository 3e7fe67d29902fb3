import { z } from 'zod';
import { registryHostOf, tokenPageOf } from '../support/registry-hosts.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { lines } from '../support/text.ts';
import { defineTool, type Agreement } from '../support/tool.ts';

const Output = z.object({
  status: hiddenFromClients(z.enum(['known', 'opened', 'declined', 'unknown'])),
  registry: hiddenFromClients(z.string()),
  url: z.string().optional(),
  scope: hiddenFromClients(z.string().optional()),
  next: hiddenFromClients(z.string()),
});

interface Outcome {
  readonly status: 'known' | 'opened' | 'declined';
  readonly next: string;
}

/** Returns the outcome where the model has to show the page, because the client did not. */
function shown(registry: string): Outcome {
  return {
    status: 'known',
    next: `Show the page to the user, then call registry_auth(registry_url="${registry}").`,
  };
}

const OUTCOMES: Readonly<Record<Agreement, (registry: string) => Outcome>> = {
  agreed: (registry) => ({
    status: 'opened',
    next: `The user has the page open; call registry_auth(registry_url="${registry}").`,
  }),
  declined: () => ({ status: 'declined', next: 'The user did not open the page; ask the user before trying again.' }),
  dismissed: shown,
  unasked: shown,
};

export const registryTokenObtain = defineTool({
  name: 'registry_token_obtain',
  title: 'Get a registry token',
  description:
    'Free. Page where the user makes an access token for a registry, and the scope it needs. Then registry_auth.',
  cost: 'free',
  effect: 'ensures',
  openWorld: true,
  offline: true,
  input: z.object({ registry_url: z.string().min(1).max(2_048) }),
  output: Output,
  handle: async ({ ask }, { registry_url }): Promise<z.infer<typeof Output>> => {
    const registry = registryHostOf(registry_url);
    const page = tokenPageOf(registry);
    if (page === undefined) {
      const next = `Ask the user where ${registry} issues access tokens, then call registry_auth.`;
      return { status: 'unknown', registry, next };
    }
    const { url, scope } = page;
    const message = `Make an access token for ${registry}: ${scope} is enough.`;
    const outcome = await ask({ about: `token page of ${registry}`, message, url });
    return { ...OUTCOMES[outcome](registry), registry, url, scope };
  },
  text: ({ registry, url, scope, next }) =>
    lines(`${registry}: ${url ?? 'no token page is known'}`, scope && `scope: ${scope}`, `Next: ${next}`),
});
