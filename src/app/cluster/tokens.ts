import type { ClusterNode } from '../../cluster/node/node.ts';
import { fault } from '../../contract/errors.ts';
import { DEFAULT_PROJECT, isUuid } from '../../contract/names.ts';
import { PERMISSIONS } from '../../contract/permissions.ts';
import { Token, type CreatedToken, type TokenRequest } from '../../contract/server.ts';
import type { Principal } from '../../http/auth.ts';
import { hashOf, newToken, principalOfToken, type TokenStore } from '../../http/tokens.ts';

const TOKENS_MAX = 100_000;

/** Principal of another node of the cluster, which asks on behalf of a client whose rights it has checked. */
const PEER = '00000000-0000-4000-8000-00000000c1c1';

/** Another node; it names the project of its client. */
export const PEER_PRINCIPAL: Principal = {
  token: PEER,
  expiresAt: null,
  permissions: new Set(PERMISSIONS),
  project: DEFAULT_PROJECT,
  limits: {},
  isOwner: false,
};

/** Reports whether a request is one of another node. */
export function isPeer({ token }: Principal): boolean {
  return token === PEER;
}

/** Tokens of a cluster: every node knows them, and what a node revokes is refused by all. */
export class ClusterTokens implements TokenStore {
  readonly #node: Pick<ClusterNode, 'tokens' | 'isPeerToken'>;

  constructor(node: Pick<ClusterNode, 'tokens' | 'isPeerToken'>) {
    this.#node = node;
  }

  async verify(token: string): Promise<Principal | undefined> {
    if (this.#node.isPeerToken(token)) return PEER_PRINCIPAL;
    // Looked up by the hash of 256 random bits: how long that takes tells nothing.
    const shown = await this.#node.tokens.findByHash(hashOf(token));
    return shown === undefined ? undefined : principalOfToken(parse(shown));
  }

  async create(request: TokenRequest): Promise<CreatedToken> {
    const { shown, token, hash } = newToken(request);
    const added = await this.#node.tokens.add({ uuid: shown.uuid, hash, shown: JSON.stringify(shown) }, TOKENS_MAX);
    if (!added) throw fault('ARGUMENT_INVALID', { reason: `there are ${TOKENS_MAX} tokens` });
    return { ...shown, token };
  }

  async list(): Promise<Token[]> {
    return (await this.#node.tokens.list()).map(parse);
  }

  async principalOf(uuid: string): Promise<Principal | undefined> {
    if (uuid === PEER) return PEER_PRINCIPAL;
    const shown = isUuid(uuid) ? await this.#node.tokens.find(uuid) : undefined;
    return shown === undefined ? undefined : principalOfToken(parse(shown));
  }

  async revoke(uuid: string): Promise<boolean> {
    return isUuid(uuid) && (await this.#node.tokens.remove(uuid));
  }
}

function parse(shown: string): Token {
  try {
    return Token.parse(JSON.parse(shown));
  } catch (error) {
    throw fault(
      'STORE_CORRUPT',
      { what: 'a token of the catalogue', reason: 'its format is invalid' },
      { cause: error },
    );
  }
}
