/** Credentials for a registry: a name with a password or token, or a refresh token (OAuth 2). */
export type RegistryCredentials =
  | { readonly username: string; readonly password: string }
  | { readonly identityToken: string };

/** Finds the credentials for a registry (canonical name, as `OciReference.registry`), or undefined when it has none. */
export type CredentialSource = (registry: string, signal: AbortSignal) => Promise<RegistryCredentials | undefined>;

/** Returns a source that uses the first of the given sources that knows the registry. */
export function firstOf(...sources: readonly CredentialSource[]): CredentialSource {
  return async (registry, signal) => {
    for (const source of sources) {
      const found = await source(registry, signal);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

/** Returns a source of credentials given with a request. Empty strings mean anonymous access, whatever is stored. */
export function givenCredentials(given: { readonly username?: string; readonly password?: string }): CredentialSource {
  const { username = '', password = '' } = given;
  if (username === '' && password === '') return async () => undefined;
  return async () => ({ username: username === '' ? ANY_USER : username, password });
}

/**
 * Returns a source that reads `CONTREE_REGISTRY_AUTH_<HOST>`, where `_` replaces every character of the host but
 * letters and digits. Values are `user:password` or a token.
 */
export function environmentCredentials(environment: Readonly<Record<string, string | undefined>>): CredentialSource {
  return async (registry) => {
    const value = environment[`CONTREE_REGISTRY_AUTH_${registry.replaceAll(/[^a-z0-9]/giu, '_').toUpperCase()}`];
    if (value === undefined || value === '') return undefined;
    const colon = value.indexOf(':');
    if (colon < 0) return { username: ANY_USER, password: value };
    return { username: value.slice(0, colon), password: value.slice(colon + 1) };
  };
}

/** User name for a token; registries that accept a token as password accept any name with it. */
const ANY_USER = 'token';

export function basicHeader(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}
