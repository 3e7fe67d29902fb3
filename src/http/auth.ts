import { fault } from '../contract/errors.ts';
import { DEFAULT_PROJECT, isProject } from '../contract/names.ts';
import { PERMISSIONS, type Permission } from '../contract/permissions.ts';
import type { TokenLimits } from '../contract/server.ts';

/** Default permissions of a token: everything within its project. */
export const TENANT_PERMISSIONS: readonly Permission[] = PERMISSIONS.filter(
  (permission) => permission !== 'admin' && permission !== 'metrics',
);

/** Authenticated caller. */
export interface Principal {
  /**
   * UUID of the token; absent where none is required, as on the Unix socket, which only the owner of the data directory
   * reaches.
   */
  readonly token?: string;
  /** Unix seconds; null for never. */
  readonly expiresAt: number | null;
  readonly permissions: ReadonlySet<Permission>;
  /** Project of everything that the principal sees and creates. */
  readonly project: string;
  readonly limits: TokenLimits;
  /** True for a request without a token on the socket that only the owner of the data directory can open. */
  readonly isOwner: boolean;
}

const NOBODY = { expiresAt: null, project: DEFAULT_PROJECT, limits: {}, isOwner: false } as const;

export const OWNER: Principal = { ...NOBODY, permissions: new Set(PERMISSIONS), isOwner: true };

/** Loopback client of a server without tokens: may do everything except manage tokens, run gc and stop the engine. */
export const ANYONE: Principal = {
  ...NOBODY,
  permissions: new Set(PERMISSIONS.filter((permission) => permission !== 'admin')),
};

/** Header of requests that a server sends over the owner's socket for its own client, who is not the owner. */
export const ON_BEHALF = 'contree-on-behalf';

/** Verifies tokens in constant time; undefined for unknown and expired ones. */
export interface TokenVerifier {
  verify(token: string): Promise<Principal | undefined>;
}

/**
 * Authentication of a listener: all callers are one principal; or each request needs a token; or, on the socket that
 * only the owner of the data directory can open, a request with a token has the rights of the token, and one without
 * has the owner's.
 */
export type Authentication =
  | { readonly kind: 'fixed'; readonly principal: Principal }
  | { readonly kind: 'token'; readonly verifier: TokenVerifier }
  | { readonly kind: 'owner'; readonly verifier: TokenVerifier };

/**
 * Returns the principal of a request and its project: the token's, or for administrators the one in the `Project`
 * header. Faults: TOKEN_MISSING, TOKEN_INVALID, PROJECT_INVALID.
 */
export async function authenticate(authentication: Authentication, request: Request): Promise<Principal> {
  const principal = await identify(authentication, request);
  const chosen = request.headers.get('project');
  // Clients of the hosted service send their project along with the token; here the token determines the project.
  if (chosen === null || chosen === '' || !principal.permissions.has('admin')) return principal;
  if (!isProject(chosen)) throw fault('PROJECT_INVALID', { project: chosen.slice(0, 100) });
  return { ...principal, project: chosen };
}

async function identify(authentication: Authentication, request: Request): Promise<Principal> {
  if (authentication.kind === 'fixed') return authentication.principal;
  if (authentication.kind === 'owner' && !request.headers.has('authorization')) {
    return request.headers.has(ON_BEHALF) ? ANYONE : OWNER;
  }
  const token = bearer(request);
  if (token === undefined) throw fault('TOKEN_MISSING', {});
  const principal = await authentication.verifier.verify(token);
  if (principal === undefined) throw fault('TOKEN_INVALID', {});
  return principal;
}

/** Returns the bearer token of a request. */
export function bearer(request: Request): string | undefined {
  return bearerOf(request.headers.get('authorization') ?? '');
}

/** Returns the bearer token of an Authorization header. */
export function bearerOf(authorization = ''): string | undefined {
  return /^bearer +([\x21-\x7e]+) *$/iu.exec(authorization)?.[1];
}

/** Checks that the principal has one of the permissions. Faults: PERMISSION_MISSING. */
export function authorize(principal: Principal, anyOf: readonly Permission[]): void {
  const [first] = anyOf;
  if (first === undefined || anyOf.some((permission) => principal.permissions.has(permission))) return;
  throw fault('PERMISSION_MISSING', { permission: first });
}
