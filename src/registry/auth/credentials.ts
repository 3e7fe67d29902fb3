/** What a registry is shown: a name with a password or token, or a token that is exchanged for others (OAuth 2). */
export type Credentials = { readonly username: string; readonly password: string } | { readonly identityToken: string };

/** Finds the credentials for a registry (canonical name, as `OciReference.registry`), or undefined when it has none. */
export type CredentialSource = (registry: string, signal: AbortSignal) => Promise<Credentials | undefined>;

/** The first source that knows the registry decides. */
export function firstOf(...sources: readonly CredentialSource[]): CredentialSource {
  return async (registry, signal) => {
    for (const source of sources) {
      const found = await source(registry, signal);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

/** Credentials that came with the request. Empty strings mean: anonymous, whatever else is stored. */
export function givenCredentials(given: { readonly username?: string; readonly password?: string }): CredentialSource {
  const { username = '', password = '' } = given;
  if (username === '' && password === '') return async () => undefined;
  return async () => ({ username: username === '' ? ANY_USER : username, password });
}

/**
 * `CONTREE_REGISTRY_AUTH_<HOST>` with every character of the host that is no letter or digit as `_`: a value
 * `user:password`, or a token alone.
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

/** Registries that take a token as password accept any name beside it. */
const ANY_USER = 'token';

export function basicHeader(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}
