import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { textAddressKind } from '../std/ip/kind.ts';
import { present } from '../std/present.ts';
import { AddressGuard, bareHost, portOf } from './address.ts';
import { Authorizer } from './auth/authorizer.ts';
import type { CredentialSource } from './auth/credentials.ts';
import type { ProxySettings } from './proxy.ts';
import { apiHost } from './reference.ts';
import {
  type RegistryResponse,
  type BodyBound,
  readResponse,
  readHeaders,
  refusalOf,
  retryAfterMs,
} from './response.ts';
import { type HttpRequest, type HttpResponse, NetworkError, Transport } from './transport.ts';
import { pause } from '../std/abort.ts';

/** Settings about registries. */
export interface RegistrySettings {
  /** `host` or `host:port` to use over plain http, on any address. Loopback registries need not be listed. */
  readonly insecure?: readonly string[];
  /** `host` or `host:port` that may resolve to a loopback, private or link-local address. */
  readonly allowed?: readonly string[];
  /** True when a reference such as `127.0.0.1:5000/x` permits that address by naming it, for the owner only (default: true). */
  readonly privateByName?: boolean;
  readonly proxy?: ProxySettings;
  /** Additional certificate authorities, PEM. */
  readonly ca?: string;
  /** Time for which a server may send nothing; default `limits.registryTimeoutMs`. */
  readonly silenceMs?: number;
  /** Waits between tries; tests replace it. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** One request to the registry's API. */
export interface ApiRequest extends Omit<HttpRequest, 'authorization' | 'body'> {
  /** Scope it requires, such as `repository:library/python:pull`; empty for none. */
  readonly scope: string;
  /** Opens the body; called for every attempt. */
  readonly body?: () => NonNullable<HttpRequest['body']>;
}

/** Retries after the first attempt. A refused connection is retried too: the registry may be restarting. */
const RETRIES_MAX: Readonly<Record<NetworkError['kind'], number>> = {
  passing: limits.registryRetriesMax,
  refused: 2,
  permanent: 0,
};
const BACKOFF_MS_MAX = 8_000;
const PATIENT_STATUSES: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/**
 * Client of one registry for the duration of one operation. It keeps tokens and sockets, retries transient failures,
 * and turns permanent ones into faults. It may be used concurrently.
 */
export class RegistryClient implements AsyncDisposable {
  /** Canonical name, as in `OciReference.registry`. */
  readonly registry: string;
  readonly #base: URL;
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;
  readonly #wait: (ms: number, signal: AbortSignal) => Promise<void>;

  constructor(registry: string, settings: RegistrySettings, credentials: CredentialSource) {
    const { insecure = [], allowed = [], privateByName = true, proxy, ca } = settings;
    const host = apiHost(registry);
    const guard = new AddressGuard({ named: host, allowed: [...allowed, ...insecure], privateByName });
    const plainHttp = (url: URL) => isLoopback(url) || isListed(url, insecure);
    this.registry = registry;
    this.#base = new URL(`${plainHttp(new URL(`http://${host}/`)) ? 'http' : 'https'}://${host}/`);
    this.#transport = new Transport({
      guard,
      plainHttp,
      ...present({ proxy, ca }),
    });
    this.#wait = settings.wait ?? pause;
    this.#authorizer = new Authorizer({
      registry,
      credentials,
      exchange: (request, bound, signal) => this.#exchange(request, bound, signal),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#transport[Symbol.asyncDispose]();
  }

  /** Returns the URL of a path below the registry's API root. */
  url(path: string): URL {
    return new URL(path, this.#base);
  }

  /**
   * Sends a request with authorization and retries, and returns the final response; the caller reads or drops its body.
   * Faults: REGISTRY_UNREACHABLE, REGISTRY_ADDRESS_DENIED, REGISTRY_PROTOCOL, those of the token service.
   */
  async send(request: ApiRequest, signal: AbortSignal): Promise<HttpResponse> {
    return this.#retried(this.registry, () => this.#authorized(request, signal), signal);
  }

  /**
   * Sends a request like `send` and reads a small response: its status, and its body when the status is 200. A response
   * to HEAD has none.
   */
  async fetch(request: ApiRequest, bound: BodyBound, signal: AbortSignal): Promise<RegistryResponse> {
    const attempt = async () => this.#attempt(request, bound, signal);
    return this.#retried(this.registry, attempt, signal);
  }

  /**
   * Sends a HEAD request once, as a cheap question that may fail; returns undefined when there was no answer. Faults: those
   * of the address guard and of the token service.
   */
  async tryHead(request: Omit<ApiRequest, 'method'>, signal: AbortSignal): Promise<RegistryResponse | undefined> {
    try {
      return await this.#attempt({ ...request, method: 'HEAD' }, { what: 'a response', bytesMax: 0 }, signal);
    } catch (error) {
      if (error instanceof NetworkError) return undefined;
      throw error;
    }
  }

  async #attempt(request: ApiRequest, bound: BodyBound, signal: AbortSignal): Promise<RegistryResponse> {
    const read = request.method === 'HEAD' ? readHeaders : readResponse;
    return read(await this.#authorized(request, signal), bound, signal);
  }

  /** Returns the fault for a response that refuses, in terms of this registry. */
  refusal(response: Pick<HttpResponse, 'status' | 'headers'>, missing?: Error): Error {
    return refusalOf(response, this.registry, missing);
  }

  /** Waits before attempt number `tries` (from 1). */
  backoff(tries: number, signal: AbortSignal): Promise<void> {
    return this.#wait(backoffMs(Math.max(0, tries - 1)), signal);
  }

  async #exchange(request: HttpRequest, bound: BodyBound, signal: AbortSignal): Promise<RegistryResponse> {
    const attempt = async () => readResponse(await this.#transport.send(request, signal), bound, signal);
    return this.#retried(request.url.host, attempt, signal);
  }

  async #authorized(request: ApiRequest, signal: AbortSignal): Promise<HttpResponse> {
    const { scope, body, ...message } = request;
    const attempt = (authorization: string | undefined) =>
      this.#transport.send({ ...message, authorization, ...(body === undefined ? {} : { body: body() }) }, signal);
    // Only the registry itself receives credentials and may request them, no host it redirects to or names.
    const isOwn = (url: URL) => url.origin === this.#base.origin;
    const used = isOwn(message.url) ? this.#authorizer.header(scope) : undefined;
    const response = await attempt(used);
    if (response.status !== 401 || !isOwn(message.url) || !isOwn(response.url)) return response;
    await response.body.dump();
    const header = await this.#authorizer.answer({ headers: response.headers, used }, scope, signal);
    return header === undefined ? response : attempt(header);
  }

  async #retried<Result extends RegistryResponse | HttpResponse>(
    peer: string,
    attempt: () => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    for (let tries = 0; ; tries += 1) {
      const result = await attempt().catch((error: unknown) => {
        if (!(error instanceof NetworkError)) throw error;
        return error;
      });
      const waitMs = this.#waitBefore(tries, result);
      if (waitMs === undefined) {
        if (!(result instanceof NetworkError)) return result;
        throw fault('REGISTRY_UNREACHABLE', { registry: peer, reason: result.message }, { cause: result });
      }
      if (!(result instanceof NetworkError) && 'body' in result) await result.body.dump();
      await this.#wait(waitMs, signal);
    }
  }

  /** Returns the delay before the next attempt, or undefined when this result is final. */
  #waitBefore(tries: number, result: RegistryResponse | HttpResponse | NetworkError): number | undefined {
    if (result instanceof NetworkError) return tries < RETRIES_MAX[result.kind] ? backoffMs(tries) : undefined;
    if (!PATIENT_STATUSES.has(result.status) || tries >= limits.registryRetriesMax) return undefined;
    const askedMs = retryAfterMs(result) ?? backoffMs(tries);
    return askedMs > limits.registryRetryAfterMsMax ? undefined : askedMs;
  }
}

/** Returns a delay that doubles with each attempt, with 25 % jitter so that clients do not retry in step. */
function backoffMs(tries: number): number {
  return Math.min(BACKOFF_MS_MAX, limits.registryBackoffMs * 2 ** tries) * (0.75 + Math.random() / 2);
}

function isLoopback(url: URL): boolean {
  const host = bareHost(url.hostname);
  return host === 'localhost' || host.endsWith('.localhost') || textAddressKind(host) === 'loopback';
}

function isListed(url: URL, hosts: readonly string[]): boolean {
  const host = bareHost(url.hostname);
  return hosts.some((entry) => [host, `${host}:${portOf(url)}`].includes(entry.toLowerCase()));
}
