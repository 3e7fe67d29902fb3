import { fault } from '../contract/errors.ts';
import type { WhoAmIResponse } from '../contract/contree.ts';

/** What a token may be allowed to do; the first six are the hosted service's names. */
export const PERMISSIONS = [
  'list',
  'spawn',
  'spawn_disposable',
  'import',
  'cancel',
  'set_image_tag',
  'upload',
  'delete',
  'admin',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** Who asks. */
export interface Principal {
  readonly tokenUuid: string;
  /** Unix seconds; null for never. */
  readonly expiresAt: number | null;
  readonly permissions: ReadonlySet<Permission>;
}

/** Uuid that stands for "no token": whoever reaches the unix socket owns the data directory. */
const NO_TOKEN = '00000000-0000-0000-0000-000000000000';

export const OWNER: Principal = { tokenUuid: NO_TOKEN, expiresAt: null, permissions: new Set(PERMISSIONS) };

/** A loopback client where no token is asked for: everything but tokens and the engine process itself. */
export const ANYONE: Principal = {
  tokenUuid: NO_TOKEN,
  expiresAt: null,
  permissions: new Set(PERMISSIONS.filter((permission) => permission !== 'admin')),
};

/** Looks up who presents a token. Compares in constant time; undefined for unknown and expired ones. */
export interface TokenVerifier {
  verify(token: string): Promise<Principal | undefined>;
}

/** How a listener finds out who asks: everyone is the same principal, or each request proves itself. */
export type Authentication =
  | { readonly kind: 'fixed'; readonly principal: Principal }
  | { readonly kind: 'token'; readonly verifier: TokenVerifier };

/** Faults: TOKEN_MISSING, TOKEN_INVALID. */
export async function authenticate(authentication: Authentication, request: Request): Promise<Principal> {
  if (authentication.kind === 'fixed') return authentication.principal;
  const [, token] = /^bearer +([\x21-\x7e]+) *$/iu.exec(request.headers.get('authorization') ?? '') ?? [];
  if (token === undefined) throw fault('TOKEN_MISSING', {});
  const principal = await authentication.verifier.verify(token);
  if (principal === undefined) throw fault('TOKEN_INVALID', {});
  return principal;
}

/** Passes when the principal has one of the permissions. Faults: PERMISSION_MISSING. */
export function authorize(principal: Principal, anyOf: readonly Permission[]): void {
  const [first] = anyOf;
  if (first === undefined || anyOf.some((permission) => principal.permissions.has(permission))) return;
  throw fault('PERMISSION_MISSING', { permission: first });
}

/** The engine's answer, as it applies to the one who asks. */
export function whoAmI(engine: WhoAmIResponse, principal: Principal): WhoAmIResponse {
  const permissions = PERMISSIONS.map((permission) => [permission, principal.permissions.has(permission)] as const);
  return {
    ...engine,
    token_uuid: principal.tokenUuid,
    token_expiration: principal.expiresAt,
    permissions: Object.fromEntries(permissions),
  };
}
