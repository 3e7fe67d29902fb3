import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import { DEFAULT_PROJECT, isProject } from '../contract/names.ts';
import { Token, type CreatedToken, type TokenRequest } from '../contract/server.ts';
import type { Permission } from '../contract/permissions.ts';
import { writeFileAtomically } from '../std/files.ts';
import { TENANT_PERMISSIONS, type Principal, type TokenVerifier } from './auth.ts';

const FILE_VERSION = 1;
const TOKENS_MAX = 10_000;

/** sha256 of the token, hex. Tokens have 256 random bits, so a plain hash cannot be reversed by guessing. */
const StoredToken = Token.extend({ hash: z.string().regex(/^[0-9a-f]{64}$/u) });
type StoredToken = z.infer<typeof StoredToken>;

const TokenFile = z.object({ version: z.literal(FILE_VERSION), tokens: z.array(StoredToken) });

/** Tokens of a data directory. */
export interface TokenStore extends TokenVerifier {
  create(request: TokenRequest): Promise<CreatedToken>;
  list(): Promise<Token[]>;
  /** Returns the principal of the token with that UUID; undefined when there is none, or it has expired. */
  principalOf(uuid: string): Promise<Principal | undefined>;
  /** Revokes a token; returns false when there is no such token. */
  revoke(uuid: string): Promise<boolean>;
}

/** Returns a new token, and the hash by which it is found again. Faults: PROJECT_INVALID. */
export function newToken(request: TokenRequest): {
  readonly shown: Token;
  readonly token: string;
  readonly hash: string;
} {
  const token = `ctr_${randomBytes(32).toString('base64url')}`;
  const permissions: Permission[] = [...new Set(request.permissions ?? TENANT_PERMISSIONS)];
  const { project = DEFAULT_PROJECT, limits = {} } = request;
  if (!isProject(project)) throw fault('PROJECT_INVALID', { project });
  const shown: Token = {
    uuid: randomUUID(),
    name: request.name ?? '',
    created_at: new Date().toISOString(),
    expires_at: request.expires_in ? Math.floor(Date.now() / 1000) + request.expires_in : null,
    permissions,
    project,
    limits,
  };
  return { shown, token, hash: hashOf(token) };
}

/** Returns the hash of a token, hex. */
export function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/**
 * Tokens in a JSON file of mode 0600 that is replaced atomically. Only the engine that owns the data directory writes
 * it. Other processes may verify tokens with it, so it is read again whenever it has changed.
 */
export class FileTokenStore implements TokenStore {
  readonly #path: string;
  #tokens: readonly StoredToken[] = [];
  #stamp = '';
  /** Serializes changes. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  async verify(token: string): Promise<Principal | undefined> {
    const presented = createHash('sha256').update(token).digest();
    let found: StoredToken | undefined;
    // All tokens are compared, so that the duration does not show which one is similar.
    for (const stored of await this.#read()) {
      if (timingSafeEqual(Buffer.from(stored.hash, 'hex'), presented)) found = stored;
    }
    return principalOfToken(found);
  }

  async create(request: TokenRequest): Promise<CreatedToken> {
    const { shown, token, hash } = newToken(request);
    await this.#change((tokens) => {
      if (tokens.length >= TOKENS_MAX) throw fault('ARGUMENT_INVALID', { reason: `there are ${TOKENS_MAX} tokens` });
      return [...tokens, { ...shown, hash }];
    });
    return { ...shown, token };
  }

  async list(): Promise<Token[]> {
    return (await this.#read()).map((stored) => Token.parse(stored));
  }

  async principalOf(uuid: string): Promise<Principal | undefined> {
    return principalOfToken((await this.#read()).find((token) => token.uuid === uuid));
  }

  async revoke(uuid: string): Promise<boolean> {
    const known = (await this.#read()).some((token) => token.uuid === uuid);
    if (known) await this.#change((tokens) => tokens.filter((token) => token.uuid !== uuid));
    return known;
  }

  async #read(): Promise<readonly StoredToken[]> {
    const info = await stat(this.#path, { bigint: true }).catch(() => undefined);
    const stamp = info === undefined ? '' : `${info.ino}:${info.mtimeNs}:${info.size}`;
    if (stamp === this.#stamp) return this.#tokens;
    this.#tokens = info === undefined ? [] : parse(await readFile(this.#path, 'utf8'));
    this.#stamp = stamp;
    return this.#tokens;
  }

  #change(edit: (tokens: readonly StoredToken[]) => readonly StoredToken[]): Promise<void> {
    const change = this.#writing.then(async () => this.#write(edit(await this.#read())));
    this.#writing = change.catch(() => undefined);
    return change;
  }

  #write(tokens: readonly StoredToken[]): Promise<void> {
    return writeFileAtomically(this.#path, JSON.stringify({ version: FILE_VERSION, tokens }), { mode: 0o600 });
  }
}

/** Returns the rights of a token; undefined where there is none, or it has expired. */
export function principalOfToken(found: Token | undefined): Principal | undefined {
  if (found === undefined) return undefined;
  if (found.expires_at !== null && found.expires_at * 1000 <= Date.now()) return undefined;
  const { uuid, expires_at: expiresAt, permissions, project, limits } = found;
  return { token: uuid, expiresAt, permissions: new Set(permissions), project, limits, isOwner: false };
}

function parse(text: string): readonly StoredToken[] {
  try {
    return TokenFile.parse(JSON.parse(text)).tokens;
  } catch (error) {
    throw fault('STORE_CORRUPT', { what: 'the token file', reason: 'its format is invalid' }, { cause: error });
  }
}
