import { limits } from '../../contract/limits.ts';
import { RegistryClient, type RegistrySettings } from '../client.ts';
import { type CredentialSource, givenCredentials } from './credentials.ts';
import { parseRegistry } from '../reference.ts';

/**
 * Verifies credentials at a registry before they are stored; returns the registry's canonical name. A registry without
 * authentication accepts any. Faults: REGISTRY_DENIED when it refuses them, other REGISTRY_*, REFERENCE_INVALID.
 */
export async function verifyCredentials(
  host: string,
  credentials: { readonly username?: string; readonly password: string },
  settings: RegistrySettings,
  signal: AbortSignal,
): Promise<string> {
  const registry = parseRegistry(host);
  const source: CredentialSource = givenCredentials(credentials);
  await using client = new RegistryClient(registry, settings, source);
  const answer = await client.fetch(
    { method: 'GET', url: client.url('/v2/'), scope: '' },
    { what: 'a response', bytesMax: limits.tokenBytesMax },
    signal,
  );
  if (answer.status !== 200) throw client.refusal(answer);
  return registry;
}
