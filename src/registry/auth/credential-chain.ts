import { CredentialStore } from './credential-store.ts';
import { type CredentialSource, environmentCredentials, firstOf, givenCredentials } from './credentials.ts';
import { dockerCredentials } from './docker-config.ts';

export interface CredentialPlaces {
  /** Credentials given with the request; no other source is used then. */
  readonly given?: { readonly username?: string; readonly password?: string };
  /** Path of our own `registries.json`. */
  readonly storePath?: string;
  /** Path of Docker's `config.json`. */
  readonly dockerConfigPath?: string;
  /** Environment with the variables `CONTREE_REGISTRY_AUTH_<HOST>`. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Returns the chain of credential sources: the request, our store, Docker's configuration, the environment. */
export function credentialChain(places: CredentialPlaces): CredentialSource {
  const { given, storePath, dockerConfigPath, environment } = places;
  if (given !== undefined) return givenCredentials(given);
  return firstOf(
    ...(storePath === undefined ? [] : [new CredentialStore(storePath).source]),
    ...(dockerConfigPath === undefined ? [] : [dockerCredentials(dockerConfigPath)]),
    ...(environment === undefined ? [] : [environmentCredentials(environment)]),
  );
}
