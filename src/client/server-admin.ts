import type { TokenLimits } from '../contract/token.ts';
import type { Requester } from './requester.ts';

/** The engine process, as its own API shows it. */
export interface EngineStatus {
  readonly version: string;
  readonly pid: number;
  readonly started_at: string;
  readonly busy: boolean;
}

export interface TokenInfo {
  readonly uuid: string;
  readonly name: string;
  readonly created_at: string;
  /** Unix seconds. */
  readonly expires_at: number | null;
  readonly permissions: readonly string[];
  readonly project: string;
  readonly limits: TokenLimits;
}

export interface TokenOptions {
  readonly name?: string;
  readonly expires_in?: number;
  readonly permissions?: readonly string[];
  readonly project?: string;
  readonly limits?: TokenLimits;
}

const ENGINE = { kind: 'addition', route: 'engine' } as const;
const TOKENS = { kind: 'addition', route: 'tokens' } as const;

/** What is about the server itself and therefore not part of ConTree: its process and its tokens. */
export class ServerAdmin {
  readonly #requester: Requester;

  constructor(requester: Requester) {
    this.#requester = requester;
  }

  engine(signal?: AbortSignal): Promise<EngineStatus> {
    return this.#requester.json('engine', { method: 'GET', path: '/engine' }, ENGINE, signal);
  }

  /** Faults: ENGINE_BUSY with `onlyIdle` while operations wait or run. */
  stopEngine(onlyIdle: boolean, signal?: AbortSignal): Promise<void> {
    return this.#requester.done(
      { method: 'POST', path: '/engine/stop', json: { only_idle: onlyIdle } },
      ENGINE,
      signal,
    );
  }

  createToken(options: TokenOptions, signal?: AbortSignal): Promise<TokenInfo & { readonly token: string }> {
    return this.#requester.json('createdToken', { method: 'POST', path: '/tokens', json: options }, TOKENS, signal);
  }

  async listTokens(signal?: AbortSignal): Promise<readonly TokenInfo[]> {
    const request = { method: 'GET', path: '/tokens' } as const;
    return (await this.#requester.json<{ tokens: TokenInfo[] }>('tokens', request, TOKENS, signal)).tokens;
  }

  revokeToken(uuid: string, signal?: AbortSignal): Promise<void> {
    const path = `/tokens/${encodeURIComponent(uuid)}`;
    return this.#requester.done({ method: 'DELETE', path }, { kind: 'token', token: uuid }, signal);
  }
}
