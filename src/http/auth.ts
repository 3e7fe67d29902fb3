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
  /** UUID of the token; absent where none is required: only the owner of the data directory reaches the Unix socket. */
  readonly token?: string;
  /** Unix seconds; null for never. */
  readonly expiresAt: number | null;
  readonly permissions: ReadonlySet<Permission>;
  /** Namespace of all that the principal sees and makes. */
  readonly project: string;
  readonly limits: TokenLimits;
  /** True when it came, without a token, through the socket that only the owner of the data directory can open. */
  readonly isOwner: boolean;
}

const NOBODY = { expiresAt: null, project: DEFAULT_PROJECT, limits: {}, isOwner: false } as const;

export const OWNER: Principal = { ...NOBODY, permissions: new Set(PERMISSIONS), isOwner: true };

/** A loopback client where no token is asked for: everything but tokens, gc and the end of the engine. */
export const ANYONE: Principal = {
  ...NOBODY,
  permissions: new Set(PERMISSIONS.filter((permission) => permission !== 'admin')),
};

/** Comes to the owner's socket with what a server asks for a client of its own, which is not the owner then. */
export const ON_BEHALF = 'contree-on-behalf';

/** Looks up who presents a token. Compares in constant time; undefined for unknown and expired ones. */
export interface TokenVerifier {
  verify(token: string): Promise<Principal | undefined>;
}

/**
 * Authentication of a listener: all callers are one principal; each request needs a token; or, on the socket that only
 * the owner of the data directory can open, a request with a token is bound by it and others are the owner's.
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
  // Clients of the hosted service name their project beside the token; here the token knows it.
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

/** The token that a request brings. */
export function bearer(request: Request): string | undefined {
  return /^bearer +([\x21-\x7e]+) *$/iu.exec(request.headers.get('authorization') ?? '')?.[1];
}

/** Passes when the principal has one of the permissions. Faults: PERMISSION_MISSING. */
export function authorize(principal: Principal, anyOf: readonly Permission[]): void {
  const [first] = anyOf;
  if (first === undefined || anyOf.some((permission) => principal.permissions.has(permission))) return;
  throw fault('PERMISSION_MISSING', { permission: first });
}
