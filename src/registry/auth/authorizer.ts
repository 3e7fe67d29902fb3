import { z } from 'zod';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { basicHeader, type RegistryCredentials, type CredentialSource } from './credentials.ts';
import { type RegistryResponse, type BodyBound, refusalOf } from '../response.ts';
import type { HttpRequest, HttpResponse } from '../transport.ts';
import { parsedJson } from '../../std/json.ts';

/** Margin before the expiry of a token, so that it does not expire in transit. */
const EXPIRY_SLACK_MS = 5_000;
/** Lifetime that the token specification defines when a registry states none. */
const LIFETIME_SECONDS_DEFAULT = 60;
const CLIENT_ID = 'contree';

const TokenAnswer = z.object({
  token: z.string().nullish(),
  access_token: z.string().nullish(),
  expires_in: z.unknown().optional(),
});

/** Response 401, and the `Authorization` header of its request. */
type Refused = Pick<HttpResponse, 'headers'> & { readonly used: string | undefined };

interface Grant {
  readonly header: string;
  readonly expiresAtMs: number;
}

export interface AuthorizerOptions {
  readonly registry: string;
  readonly credentials: CredentialSource;
  /** Sends a request with retries; an error is final. */
  readonly exchange: (request: HttpRequest, bound: BodyBound, signal: AbortSignal) => Promise<RegistryResponse>;
}

/**
 * Authorization at one registry: answers its challenge with Basic credentials, or exchanges them for a bearer token
 * (distribution-spec token authentication) and caches the token by scope until it expires.
 */
export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #grants = new Map<string, Grant>();
  /** Token requests under way, by scope: transfers of one image run out of their token together. */
  readonly #asking = new Map<string, Promise<Grant>>();
  /** The last challenge that named a token service, for a registry that later refuses a token without naming it again. */
  #bearer: Challenge | undefined;
  #credentials: Promise<RegistryCredentials | undefined> | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** Returns the header for requests of this scope, if it is known. */
  header(scope: string): string | undefined {
    const grant = this.#grants.get(scope) ?? this.#grants.get(EVERY_SCOPE);
    return grant !== undefined && Date.now() < grant.expiresAtMs ? grant.header : undefined;
  }

  /**
   * Answers a 401: returns the header for a retry, or undefined without credentials. `used` is the header that was refused.
   */
  async answer(refused: Refused, scope: string, signal: AbortSignal): Promise<string | undefined> {
    const { headers, used } = refused;
    const challenges = parseChallenges(headers['www-authenticate'] ?? '');
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    this.#bearer = bearer ?? this.#bearer;
    const asked = bearer ?? (challenges.length === 0 ? this.#withoutScope() : undefined);
    if (asked !== undefined) {
      // Another transfer may have a new token already.
      const known = this.header(scope);
      return known === undefined || known === used ? this.#renew(asked, scope, signal) : known;
    }
    const basic = challenges.find(({ scheme }) => scheme === 'basic');
    const credentials = basic === undefined ? undefined : await this.#find(signal);
    if (credentials === undefined || 'identityToken' in credentials) return undefined;
    const header = basicHeader(credentials.username, credentials.password);
    return this.#grant(EVERY_SCOPE, { header, expiresAtMs: Number.POSITIVE_INFINITY });
  }

  /** Returns the known challenge for any scope: it may have been about another repository. */
  #withoutScope(): Challenge | undefined {
    if (this.#bearer === undefined) return undefined;
    const { scheme, parameters } = this.#bearer;
    return { scheme, parameters: new Map([...parameters].filter(([name]) => name !== 'scope')) };
  }

  async #renew(challenge: Challenge, scope: string, signal: AbortSignal): Promise<string> {
    const asking = this.#asking.get(scope) ?? this.#token(challenge, scope, signal);
    this.#asking.set(scope, asking);
    try {
      return this.#grant(scope, await asking);
    } finally {
      this.#asking.delete(scope);
    }
  }

  #grant(scope: string, grant: Grant): string {
    this.#grants.set(scope, grant);
    return grant.header;
  }

  #find(signal: AbortSignal): Promise<RegistryCredentials | undefined> {
    this.#credentials ??= this.#options.credentials(this.#options.registry, signal);
    return this.#credentials;
  }

  async #token({ parameters }: Challenge, scope: string, signal: AbortSignal): Promise<Grant> {
    const { registry, exchange } = this.#options;
    const realm = parameters.get('realm') ?? '';
    if (!URL.canParse(realm))
      throw fault('REGISTRY_PROTOCOL', { registry, reason: 'its token service has no address' });
    const url = new URL(realm);
    url.username = '';
    url.password = '';
    const asked = { service: parameters.get('service') ?? '', scope: parameters.get('scope') ?? scope };
    const request = tokenRequest(url, asked, await this.#find(signal));
    const response = await exchange(request, { what: 'a token', bytesMax: limits.tokenBytesMax }, signal);
    if (response.status !== 200) throw refusalOf(response, registry);
    const answer = TokenAnswer.safeParse(parsedJson(response.bytes)).data;
    const token = [answer?.token, answer?.access_token].find((given) => given) ?? '';
    // Other characters could inject another header.
    if (!/^[\u0021-\u007e]+$/u.test(token)) {
      throw fault('REGISTRY_PROTOCOL', { registry, reason: 'its token service sent no token' });
    }
    const seconds = typeof answer?.expires_in === 'number' ? answer.expires_in : 0;
    // A shorter life than the specification guarantees shows by a refusal, which renews the token.
    const lifetimeMs = Math.max(seconds, LIFETIME_SECONDS_DEFAULT) * 1000;
    return { header: `Bearer ${token}`, expiresAtMs: Date.now() + lifetimeMs - EXPIRY_SLACK_MS };
  }
}

const EVERY_SCOPE = '*';

function tokenRequest(
  realm: URL,
  asked: Readonly<Record<string, string>>,
  credentials?: RegistryCredentials,
): HttpRequest {
  const wanted = Object.entries(asked).filter(([, value]) => value !== '');
  if (credentials !== undefined && 'identityToken' in credentials) {
    const form = new URLSearchParams([
      ...wanted,
      ['grant_type', 'refresh_token'],
      ['client_id', CLIENT_ID],
      ['refresh_token', credentials.identityToken],
    ]);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return { method: 'POST', url: realm, headers, body: form.toString() };
  }
  const url = new URL(realm);
  // A challenge lists several scopes in one value, but each is a separate parameter here.
  for (const [name, value] of wanted) {
    for (const part of name === 'scope' ? value.split(' ') : [value]) url.searchParams.append(name, part);
  }
  if (credentials === undefined) return { method: 'GET', url };
  url.searchParams.append('account', credentials.username);
  return { method: 'GET', url, authorization: basicHeader(credentials.username, credentials.password) };
}
