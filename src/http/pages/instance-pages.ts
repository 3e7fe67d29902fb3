import { ServerResponse, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { fault, type ContreeError } from '../../contract/errors.ts';
import { bearerOf, type Authentication, type Principal } from '../auth.ts';
import { toFault } from '../fault-reply.ts';
import { hostOf, type OriginRules } from '../guard.ts';
import type { Log } from '../log.ts';
import { sessionSecrets } from './headers.ts';
import { pageHost, pageLabel, type PageHost, type PageTarget } from './page-host.ts';
import { answered, passOn, switchProtocols } from './relay.ts';
import { PageSessions } from './sessions.ts';

/** Connects to a port of an instance that the principal may use. Faults: those of the engine. */
export type ConnectToPage = (principal: Principal, target: PageTarget, signal: AbortSignal) => Promise<Duplex>;

export interface PagesOptions {
  readonly connect: ConnectToPage;
  readonly authentication: Authentication;
  readonly origin: OriginRules;
  readonly log: Log;
  /** Reports whether the token of a principal is still valid. */
  readonly isCurrent: (principal: Principal) => Promise<boolean>;
  /** Aborts when the server closes. */
  readonly closing: AbortSignal;
}

/** Caller, and whether the Authorization header is what identified it. */
interface Caller {
  readonly principal: Principal;
  readonly ownToken: boolean;
}

/** Path that exchanges a key for a session; the only one that the guest does not get. */
const ENTER = '/.contree/enter';
const UPGRADES = 'websocket';

/**
 * Pages of programs in instances, each port at an origin of its own: `PORT-INSTANCE.localhost`. What comes to such a host is
 * passed on to the guest and to nothing else, so a page of a guest shares an origin neither with the API nor with the console.
 */
export class InstancePages {
  readonly #options: PagesOptions;
  readonly #sessions = new PageSessions();
  readonly #switched = new Set<Duplex>();
  /** URL of the listener, once it listens. */
  address: string | undefined;

  constructor(options: PagesOptions) {
    this.#options = options;
    options.closing.addEventListener('abort', () => this.#cut(), { once: true });
  }

  /** Returns the address of a port's pages; undefined before the listener listens. */
  urlOf(target: PageTarget): string | undefined {
    const url = URL.parse(this.address ?? '');
    if (url === null) return undefined;
    const [name] = this.#options.origin.names;
    const host = name === undefined ? `localhost:${url.port}` : hostOf(name);
    const protocol = name?.startsWith('https://') ? 'https:' : url.protocol;
    return `${protocol}//${pageLabel(target)}.${host}/`;
  }

  /** Returns an address that signs a browser in as the principal; it works once. */
  linkFor(principal: Principal, target: PageTarget): string | undefined {
    const url = this.urlOf(target);
    if (url === undefined || this.#options.authentication.kind === 'fixed') return url;
    return `${url.slice(0, -1)}${ENTER}?key=${this.#sessions.key(principal, target)}`;
  }

  /** Returns the page that a request is for; undefined for requests to the server itself. */
  find(request: IncomingMessage): PageHost | undefined {
    return pageHost(request.headers.host, this.#options.origin);
  }

  /** Answers a request for a page. Never rejects. */
  async answer(page: PageHost, request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (this.#enters(page, request, response)) return;
      const caller = await this.#admit(page, request);
      const gone = new AbortController();
      response.once('close', () => gone.abort(new Error('the client has left')));
      const stream = await this.#options.connect(caller.principal, page, gone.signal);
      gone.signal.addEventListener('abort', () => stream.destroy(), { once: true });
      await passOn(await answered({ ...this.#forwarding(page, request, caller), stream }), response);
    } catch (error) {
      this.#refuse(error, request, response);
    }
  }

  /** Answers a request for a page that asks to switch protocols. Never rejects. */
  async upgrade(page: PageHost, request: IncomingMessage, socket: Duplex, first: Buffer): Promise<void> {
    socket.on('error', () => undefined);
    const gone = new AbortController();
    this.#switched.add(socket);
    socket.once('close', () => {
      this.#switched.delete(socket);
      gone.abort(new Error('the client has left'));
    });
    const response = new ServerResponse(request);
    response.assignSocket(socket as Parameters<ServerResponse['assignSocket']>[0]);
    response.shouldKeepAlive = false;
    response.once('finish', () => socket.end());
    try {
      const caller = await this.#admit(page, request);
      if (request.headers.upgrade?.toLowerCase() !== UPGRADES) {
        throw fault('ARGUMENT_INVALID', { reason: 'pages of instances switch to the protocol websocket only' });
      }
      const stream = await this.#options.connect(caller.principal, page, gone.signal);
      gone.signal.addEventListener('abort', () => stream.destroy(), { once: true });
      const answer = await answered({ ...this.#forwarding(page, request, caller), stream }, UPGRADES);
      if (answer.head === undefined) {
        await passOn(answer, response);
        return;
      }
      response.detachSocket(socket as Parameters<ServerResponse['detachSocket']>[0]);
      await switchProtocols(answer, stream, { socket, first });
    } catch (error) {
      if (response.socket === null) socket.destroy();
      else this.#refuse(error, request, response);
    }
  }

  #forwarding(page: PageHost, request: IncomingMessage, { ownToken }: Caller) {
    return { request, port: page.port, host: page.host, protocol: protocolOf(request), ownToken } as const;
  }

  /** Exchanges the key of a link for a session. Returns false when the request is for anything else. */
  #enters(page: PageHost, request: IncomingMessage, response: ServerResponse): boolean {
    const url = URL.parse(request.url ?? '', 'http://page');
    if (url === null || url.pathname !== ENTER) return false;
    const secret =
      request.method === 'GET' ? this.#sessions.redeem(url.searchParams.get('key') ?? '', page) : undefined;
    if (secret === undefined) throw fault('PAGE_LINK_INVALID', {});
    const secure = protocolOf(request) === 'https';
    const name = secure ? '__Host-contree-page' : 'contree-page';
    const cookie = `${name}=${secret}; Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
    response.writeHead(303, { ...OWN_PAGE, Location: '/', 'Set-Cookie': cookie }).end();
    return true;
  }

  /** Returns who sends a request. Faults: ORIGIN_DENIED, PAGE_SIGN_IN, ARGUMENT_INVALID, ENGINE_UNAVAILABLE. */
  async #admit(page: PageHost, request: IncomingMessage): Promise<Caller> {
    const { closing, authentication } = this.#options;
    if (closing.aborted) throw fault('ENGINE_UNAVAILABLE', { reason: 'it is stopping' });
    if (!request.url?.startsWith('/')) throw fault('ARGUMENT_INVALID', { reason: 'the request names no path' });
    checkSite(page, request);
    if (authentication.kind === 'fixed') return { principal: authentication.principal, ownToken: false };
    const token = bearerOf(request.headers.authorization);
    const bearer = token === undefined ? undefined : await authentication.verifier.verify(token);
    if (bearer !== undefined) return { principal: bearer, ownToken: true };
    for (const secret of sessionSecrets(request.headers.cookie)) {
      const principal = this.#sessions.find(secret, page);
      if (principal !== undefined && (await this.#options.isCurrent(principal))) return { principal, ownToken: false };
    }
    throw fault('PAGE_SIGN_IN', {});
  }

  #refuse(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    if (response.headersSent || response.destroyed) {
      // The answer must not look complete.
      response.destroy();
      return;
    }
    const fields = { method: request.method ?? '', path: (request.url ?? '').split('?', 1)[0] ?? '' };
    respond(toFault(error, this.#options.log, fields), response);
  }

  #cut(): void {
    for (const socket of this.#switched) socket.destroy();
  }
}

/** Headers of our own answers at the origin of a guest: no script of it may use them for anything. */
const OWN_PAGE = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
} as const;

function respond(error: ContreeError, response: ServerResponse): void {
  const text = Buffer.from(`${error.message}\n${error.hint}\n`);
  response.writeHead(error.httpStatus, {
    ...OWN_PAGE,
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': text.length,
    // What is left of the request's body is not read.
    Connection: 'close',
    ...(error.httpStatus === 401 && { 'WWW-Authenticate': 'Bearer' }),
  });
  response.end(text);
}

/**
 * Refuses what another site makes a browser send: its pages may only link here. SameSite of the cookie says the same, but two
 * instances can be of one site, and a server without tokens has no cookie. Faults: ORIGIN_DENIED.
 */
function checkSite({ host }: PageHost, request: IncomingMessage): void {
  const { origin, 'sec-fetch-site': site, 'sec-fetch-mode': mode, 'sec-fetch-dest': dest } = request.headers;
  if (origin !== undefined && URL.parse(origin)?.host !== host) throw fault('ORIGIN_DENIED', { origin });
  if (site === undefined || site === 'same-origin' || site === 'none') return;
  const follows = mode === 'navigate' && dest === 'document' && (request.method === 'GET' || request.method === 'HEAD');
  if (!follows) throw fault('ORIGIN_DENIED', { origin: site });
}

function protocolOf({ socket }: IncomingMessage): 'http' | 'https' {
  return socket instanceof TLSSocket ? 'https' : 'http';
}
