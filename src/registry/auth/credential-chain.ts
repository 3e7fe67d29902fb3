import { CredentialStore } from './credential-store.ts';
import { type CredentialSource, environmentCredentials, firstOf, givenCredentials } from './credentials.ts';
import { dockerCredentials } from './docker-config.ts';

export interface CredentialPlaces {
  /** What came with the request; then nothing else is asked. */
  readonly given?: { readonly username?: string; readonly password?: string };
  /** Path of our own `registries.json`. */
  readonly storePath?: string;
  /** Path of Docker's `config.json`. */
  readonly dockerConfigPath?: string;
  /** Variables among which `CONTREE_REGISTRY_AUTH_<HOST>` is looked up. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Where credentials come from, in order: given with the request, our store, Docker's, the environment; else none. */
export function credentialLadder(places: CredentialPlaces): CredentialSource {
  const { given, storePath, dockerConfigPath, environment } = places;
  if (given !== undefined) return givenCredentials(given);
  return firstOf(
    ...(storePath === undefined ? [] : [new CredentialStore(storePath).source]),
    ...(dockerConfigPath === undefined ? [] : [dockerCredentials(dockerConfigPath)]),
    ...(environment === undefined ? [] : [environmentCredentials(environment)]),
  );
}
