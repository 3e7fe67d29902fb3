import { DEFAULT_PROJECT } from '../contract/names.ts';
import { credentialChain, type CredentialPlaces } from '../registry/auth/credential-chain.ts';
import type { CredentialSource } from '../registry/auth/credentials.ts';
import { present } from '../std/present.ts';

/** Sources of credentials for requests without their own. */
export type AccountPlaces = Omit<CredentialPlaces, 'given'>;

/** Credentials that may come with a request. Empty strings mean anonymous access. */
export interface GivenAccount {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

/**
 * Returns the credential source for one request. The accounts of this installation belong to its owner: projects other
 * than the default one send their own.
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
    given: present({ username, password }),
  });
}
