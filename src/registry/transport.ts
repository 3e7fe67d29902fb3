import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { getCACertificates } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, ProxyAgent, request } from 'undici';
import { fault, isFault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { present } from '../std/present.ts';
import { type AddressGuard, deniedBy, guardedLookup } from './address.ts';
import { proxyFor, type ProxySettings } from './proxy.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** `Authorization` header; sent to the origin of `url` only, not to redirect targets elsewhere. */
  readonly authorization?: string | undefined;
  readonly body?: string | Uint8Array | Readable;
}

/** Response of a registry. The body must be read to its end, or dropped with `body.dump()`. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Dispatcher.ResponseData['body'];
  /** URL of the response, after redirects. */
  readonly url: URL;
}

/** Failure to communicate with a peer: transient, connection refused, or permanent. */
export class NetworkError extends Error {
  override readonly name = 'NetworkError';
  readonly kind: 'passing' | 'refused' | 'permanent';

  constructor(reason: string, kind: NetworkError['kind'], cause: unknown) {
    super(reason, { cause });
    this.kind = kind;
  }
}

export interface TransportOptions {
  readonly guard: AddressGuard;
  /** Reports whether plain http is allowed for this URL. */
  readonly plainHttp: (url: URL) => boolean;
  readonly proxy?: ProxySettings;
  /** Additional certificate authorities, PEM. */
  readonly ca?: string;
  /** Time for which a server may send nothing; default `limits.registryTimeoutMs`. */
  readonly silenceMs?: number;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const USER_AGENT = 'contree';

/**
 * HTTP client for registries: every connection passes the address guard, redirects are followed by our own code, and a
 * secret is sent only to the origin it was meant for. Disposing it closes all connections.
 */
export class Transport implements AsyncDisposable {
  readonly #options: TransportOptions;
  readonly #direct: Agent;
  readonly #proxies = new Map<string, ProxyAgent>();

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#direct = new Agent({ ...connection(options), connect: guardedConnector(options) });
  }

  /** Follows redirects of GET and HEAD. Throws NetworkError, faults, or the signal's reason. */
  async send(message: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    let { url } = message;
    for (let redirects = 0; redirects <= limits.registryRedirectsMax; redirects += 1) {
      const authorization = url.origin === message.url.origin ? message.authorization : undefined;
      const response = await this.#exchange({ ...message, url, authorization }, signal);
      const followed = REDIRECTS.has(response.status) && ['GET', 'HEAD'].includes(message.method);
      if (!followed) return response;
      await response.body.dump();
      url = locationOf(response);
    }
    throw fault('REGISTRY_PROTOCOL', {
      registry: message.url.host,
      reason: `more than ${limits.registryRedirectsMax} redirects`,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#direct, ...this.#proxies.values()].map((agent) => agent.destroy()));
  }

  async #exchange(message: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const { url, method, headers = {}, authorization, body } = message;
    signal.throwIfAborted();
    checkScheme(url, this.#options.plainHttp);
    this.#options.guard.check(url);
    try {
      const dispatcher = await this.#dispatcherFor(url);
      const all = { 'user-agent': USER_AGENT, ...headers, ...present({ authorization }) };
      const answer = await request(url, { method, headers: all, dispatcher, signal, body: body ?? null });
      // Errors reach the reader of the body; a body dropped midway has no reader.
      answer.body.on('error', () => undefined);
      return { status: answer.statusCode, headers: answer.headers, body: answer.body, url };
    } catch (error) {
      throw networkFailure(error, url, signal);
    }
  }

  async #dispatcherFor(url: URL): Promise<Dispatcher> {
    const proxy = proxyFor(url, this.#options.proxy ?? {});
    if (proxy === undefined) return this.#direct;
    await this.#options.guard.checkBehindProxy(url);
    const known = this.#proxies.get(proxy);
    const agent = known ?? proxyAgent(proxy, this.#options);
    this.#proxies.set(proxy, agent);
    return agent;
  }
}

/** Returns the options of connections. HTTP/1.1 only: one per transfer, so a blob that is read slowly holds up no other. */
function connection({ silenceMs = limits.registryTimeoutMs }: TransportOptions): Agent.Options {
  return { allowH2: false, headersTimeout: silenceMs, bodyTimeout: silenceMs };
}

/** Returns a dispatcher that opens a tunnel through the proxy for every target, so that it never sees credentials. */
function proxyAgent(uri: string, options: TransportOptions): ProxyAgent {
  const connectTimeout = limits.registryConnectTimeoutMs;
  return new ProxyAgent({
    ...connection(options),
    uri,
    connectTimeout,
    proxyTunnel: true,
    requestTls: trust(options.ca),
  });
}

/** Returns TLS options that trust additional certificate authorities besides those of the system. */
function trust(ca: string | undefined): { ca?: string[] } {
  return ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] };
}

/** Returns a connector that checks the address of every connection, except to hosts permitted by the user. */
function guardedConnector({ guard, ca }: TransportOptions): buildConnector.connector {
  const common = { timeout: limits.registryConnectTimeoutMs, allowH2: false, ...trust(ca) };
  const open = buildConnector(common);
  const guarded = buildConnector({ ...common, lookup: guardedLookup });
  return (target, callback) => {
    const trusted = guard.permits(new URL(`${target.protocol}//${target.host ?? target.hostname}`));
    return (trusted ? open : guarded)(target, callback);
  };
}

/** Returns the absolute URL in the `Location` header. Faults: REGISTRY_PROTOCOL. */
export function locationOf({ headers, url }: Pick<HttpResponse, 'headers' | 'url'>): URL {
  const { location } = headers;
  if (typeof location === 'string' && URL.canParse(location, url.href)) {
    const target = new URL(location, url);
    // A user name in the URL would become a header of the request to a host chosen by the registry.
    target.username = '';
    target.password = '';
    return target;
  }
  throw fault('REGISTRY_PROTOCOL', { registry: url.host, reason: 'its Location header is not a valid URL' });
}

function checkScheme(url: URL, plainHttp: (url: URL) => boolean): void {
  if (url.protocol === 'https:' || (url.protocol === 'http:' && plainHttp(url))) return;
  const reason = url.protocol === 'http:' ? 'it uses plain http' : `${url.protocol} is not http or https`;
  throw fault('REGISTRY_ADDRESS_DENIED', { host: url.host, reason });
}

/**
 * Returns the error to throw for an error of the HTTP library: the reason of the abort, the guard's refusal, or a
 * NetworkError.
 */
export function networkFailure(error: unknown, url: URL, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  const denied = deniedBy(error);
  if (denied !== undefined || isFault(error)) return denied ?? error;
  const code = codeOf(error);
  const misread = error instanceof Error && error.name === 'HTTPParserError';
  // The parser's error for a body that ends before its last chunk has no code: it is an interrupted transfer.
  if (misread && error.message.includes('Invalid EOF state')) return new NetworkError(CLOSED.reason, 'passing', error);
  if (misread || code === 'UND_ERR_HEADERS_OVERFLOW') {
    return fault('REGISTRY_PROTOCOL', { registry: url.host, reason: 'its response is not HTTP' }, { cause: error });
  }
  if (code === undefined) return error;
  const known = REASONS[code] ?? FAMILIES.find(([pattern]) => pattern.test(code))?.[1];
  return new NetworkError(known?.reason ?? code, known?.kind ?? 'passing', error);
}

interface Meaning {
  readonly reason: string;
  readonly kind?: NetworkError['kind'];
}

const CLOSED: Meaning = { reason: 'the connection was closed' };

const REASONS: Readonly<Record<string, Meaning>> = {
  ENOTFOUND: { reason: 'its name does not resolve', kind: 'permanent' },
  EAI_AGAIN: { reason: 'its name cannot be resolved at the moment' },
  ECONNREFUSED: { reason: 'the connection was refused', kind: 'refused' },
  ECONNRESET: { reason: 'the connection was reset' },
  EPIPE: CLOSED,
  EHOSTUNREACH: { reason: 'there is no route to it' },
  ENETUNREACH: { reason: 'the network is unreachable' },
  ETIMEDOUT: { reason: 'the connection timed out' },
  UND_ERR_CONNECT_TIMEOUT: { reason: 'the connection timed out' },
  UND_ERR_HEADERS_TIMEOUT: { reason: 'it took too long to respond' },
  UND_ERR_BODY_TIMEOUT: { reason: 'it stopped sending' },
  UND_ERR_SOCKET: CLOSED,
  UND_ERR_ABORTED: CLOSED,
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: CLOSED,
};

const FAMILIES: readonly (readonly [RegExp, Meaning])[] = [
  [/CERT|SIGNED|ALTNAME/u, { reason: 'its certificate is not trusted', kind: 'permanent' }],
  [
    /^EPROTO$|^ERR_SSL/u,
    { reason: 'it does not speak TLS; list it as an insecure registry if it is yours', kind: 'permanent' },
  ],
];

/** Error code of the innermost cause that has one; happy-eyeballs failures come as an AggregateError. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : error.cause;
  const own = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return own === undefined || own === 'UND_ERR_INFO' ? codeOf(inner) : own;
}
