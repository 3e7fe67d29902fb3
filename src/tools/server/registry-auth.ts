import { z } from 'zod';
import { present } from '../../std/present.ts';
import type { SignInCredentials } from '../support/accounts.ts';
import { fault } from '../../contract/errors.ts';
import { registryHostOf } from '../support/registry-hosts.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { lines } from '../support/text.ts';
import { defineTool, type OfflineCall } from '../support/tool.ts';

const Output = z.object({
  status: z.enum(['authenticated', 'pending', 'declined']),
  registry: hiddenFromClients(z.string()),
  username: hiddenFromClients(z.string().optional()),
  hint: hiddenFromClients(z.string()),
});

export const registryAuth = defineTool({
  name: 'registry_auth',
  title: 'Sign in to a registry',
  description:
    'Free. Lets the user sign in to a registry (private images, rate limits) on a local page or in a terminal; never ask ' +
    'for tokens in the chat.',
  cost: 'free',
  effect: 'ensures',
  openWorld: true,
  offline: true,
  input: z.object({
    registry_url: z.string().min(1).max(2_048).describe('like ghcr.io'),
    force: z.boolean().default(false),
    username: hiddenFromClients(z.string().max(1_024).optional()),
    token: hiddenFromClients(z.string().max(65_536).optional()),
  }),
  output: Output,
  handle: async (call, { registry_url, force, username, token }): Promise<z.infer<typeof Output>> => {
    const registry = registryHostOf(registry_url);
    if (token !== undefined)
      return await signInWithArgument(call, registry, { username: username ?? '', secret: token });
    const account = force ? undefined : await call.accounts?.find(registry, call.signal);
    if (account) {
      const hint = `import_image(registry_url="docker://${registry}/…") uses this account.`;
      return { status: 'authenticated', registry, username: account.username, hint };
    }
    const outcome = await call.signIn(registry);
    switch (outcome.status) {
      case 'authenticated':
        return {
          status: 'authenticated',
          registry,
          hint: `import_image(registry_url="docker://${registry}/…") again.`,
        };
      case 'declined':
        return { status: 'declined', registry, hint: 'The user declined; ask the user before trying again.' };
      case 'pending':
        return { status: 'pending', registry, hint: 'Call registry_auth again when the user has entered the token.' };
      default:
        throw fault('SIGN_IN_NEEDED', present({ registry, url: outcome.url }));
    }
  },
  text: ({ status, registry, username, hint }) =>
    lines(`${registry}: ${status}${username === undefined ? '' : ` as ${username}`}`, `Next: ${hint}`),
});

/**
 * Signs in with a secret given as an argument, for clients without another way; disabled unless the user allows it,
 * because the model has then seen the secret.
 */
async function signInWithArgument(
  call: OfflineCall,
  registry: string,
  credentials: SignInCredentials,
): Promise<z.infer<typeof Output>> {
  if (!call.allowTokenArgument || call.accounts === undefined) throw fault('SIGN_IN_NEEDED', { registry });
  await call.accounts.signIn(registry, credentials, call.signal);
  const { username } = credentials;
  return { status: 'authenticated', registry, username, hint: `import_image(registry_url="docker://${registry}/…")` };
}
