import { registrySettings } from '../registry/settings.ts';
import { credentialFiles, type Environment, type Settings } from '../config/index.ts';
import { credentialChain } from '../registry/auth/credential-chain.ts';
import { CredentialStore } from '../registry/auth/credential-store.ts';
import { parseRegistry } from '../registry/reference.ts';
import { verifyCredentials } from '../registry/auth/sign-in.ts';
import type { Accounts } from '../tools/index.ts';

/** Returns the user's registry accounts on this machine as visible to tools. */
export function registryAccounts(settings: Settings, env: Environment): Accounts {
  const { own, docker } = credentialFiles(env);
  const source = credentialChain({ storePath: own, dockerConfigPath: docker, environment: env });
  return {
    find: async (registry, signal = new AbortController().signal) => {
      const found = await source(parseRegistry(registry), signal);
      if (found === undefined) return undefined;
      return { username: 'username' in found ? found.username : 'token' };
    },
    signIn: async (registry, { username, secret: password }, signal = new AbortController().signal) => {
      const given = { ...(username && { username }), password };
      // Over HTTP a client need not be the owner: it must not make this machine connect to its own network.
      const registries = { ...(await registrySettings(settings, env)), privateByName: settings.mode === 'stdio' };
      const name = await verifyCredentials(registry, given, registries, signal);
      await new CredentialStore(own).set(name, { username, password });
    },
  };
}
