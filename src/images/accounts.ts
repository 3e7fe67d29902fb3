import { DEFAULT_PROJECT } from '../contract/names.ts';
import { credentialChain, type CredentialPlaces } from '../registry/auth/credential-chain.ts';
import type { CredentialSource } from '../registry/auth/credentials.ts';

/** Where credentials are looked up when a request brings none. */
export type AccountPlaces = Omit<CredentialPlaces, 'given'>;

/** What may come with a request. Empty strings mean: anonymous. */
export interface GivenAccount {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

/**
 * Credentials for one request. The accounts of this installation are its owner's: other projects than the default one
 * bring their own.
 */
export function credentialsFor(
  places: AccountPlaces,
  project: string,
  given: GivenAccount | undefined,
): CredentialSource {
  const known = project === DEFAULT_PROJECT ? places : {};
  if (given === undefined) return credentialChain(known);
  const { username, password } = given;
  return credentialChain({
    ...known,
    given: { ...(username === undefined ? {} : { username }), ...(password === undefined ? {} : { password }) },
  });
}
