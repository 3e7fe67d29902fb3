import { randomUUID } from 'node:crypto';
import { Hono, type Context } from 'hono';
import type { ConTree } from '../contract/contree.ts';
import { fault, isFault } from '../contract/errors.ts';
import { present } from '../std/present.ts';
import { endsSource } from '../std/streams.ts';
import type { Activity } from './activity.ts';
import { authenticate, authorize, type Authentication, type Principal } from './auth.ts';
import { faultReply, toFault } from './fault-reply.ts';
import { checkOrigin, type OriginRules } from './guard.ts';
import { HttpMetrics, type Metric } from './metrics.ts';
import { openApiDocument, openApiYaml } from './openapi.ts';
import type { HeldAnswers } from './held-answers.ts';
import { json, plain, toResponse, type HttpReply } from './reply.ts';
import { readBody } from './api/body.ts';
import type { Call, Services } from './api/call.ts';
import { readQuery, readSubject } from './api/parse.ts';
import { ROUTES, type Route } from './api/routes.ts';

/** Handler of a path on the same server, for example `/mcp` or the console. */
export interface Mount {
  /** Without a trailing slash; `/` for everything that no other mount or route handles. */
  readonly path: string;
  /** True if it is served without a token, like a page that asks the user for one. */
  readonly open: boolean;
  /** `app` is the application that the mount belongs to. */
  readonly fetch: (request: Request, principal: Principal | undefined, app: App) => Promise<Response>;
}

export interface AppOptions extends Services {
  /**
   * Returns the ConTree of a principal. It is called for each request, so it must be cheap, and its result is not
   * disposed.
   */
  readonly contreeFor: (principal: Principal, request: Request) => ConTree;
  readonly version: string;
  readonly authentication: Authentication;
  /** Accepted host names on TCP; absent on a Unix socket, which no web page can reach. */
  readonly origin?: OriginRules;
  readonly mounts?: readonly Mount[];
  readonly metrics?: HttpMetrics;
  readonly activity?: Activity;
  /** Bound of the answers that wait for their readers; absent for the owner's socket. */
  readonly held?: HeldAnswers;
  /** Reports whether requests can be answered now, from memory, because anyone may ask; absent when they always can. */
  readonly isReady?: () => boolean;
  /** Returns the metrics of other parts of the process. */
  readonly moreMetrics?: () => Promise<readonly Metric[]>;
}

/** Connection as passed by the Node adapter with the request. */
export interface AdapterBindings {
  readonly outgoing?: { destroy(): unknown; once?(event: 'close', listener: () => void): unknown };
}

/** HTTP application: the fetch function of a server. */
export type App = (request: Request, connection?: AdapterBindings) => Promise<Response>;

const REQUEST_ID = /^[\w.:-]{1,128}$/u;

/** Maps `/v1` below any path prefix to `/v1`: a reverse proxy may or may not strip its prefix. */
function routedPath(request: Request): string {
  const start = request.url.indexOf('/', request.url.indexOf('://') + 3);
  const end = request.url.search(/[?#]/u);
  const path = request.url.slice(start, end === -1 ? undefined : end);
  return path.startsWith('/v1/') ? path : path.replace(/^\/.*?(?=\/v1\/)/u, '');
}

/** Creates the application of one listener. Several may share the same services and metrics. */
export function createApp(options: AppOptions): App {
  const app: App = async (request, connection) => hono.fetch(request, connection);
  const server = new Server(options);
  const hono = new Hono<{ Bindings: AdapterBindings }>({ getPath: routedPath });
  for (const [path, routes] of Map.groupBy(ROUTES, ({ row }) => row.path)) {
    const pattern = `/v1${path.replaceAll(/\{(\w+)\}/gu, ':$1')}`;
    // The router handles HEAD as GET, so a path that answers only HEAD is registered as GET.
    const methods = new Set(routes.map(({ row: { method } }) => (method === 'HEAD' ? 'GET' : method)));
    hono.on([...methods], pattern, (context) => server.answer(path, context, () => server.call(path, routes, context)));
  }
  for (const [path, page] of Object.entries(PAGES)) {
    hono.get(path, (context) => server.answer(path, context, async () => page(options.version)));
  }
  hono.get('/readyz', (context) =>
    server.answer('/readyz', context, async () => readiness(options.isReady?.() ?? true)),
  );
  hono.get('/metrics', (context) => server.answer('/metrics', context, () => server.metrics(context.req.raw)));
  for (const mount of options.mounts ?? []) {
    const patterns = mount.path === '/' ? ['/*'] : [mount.path, `${mount.path}/*`];
    for (const pattern of patterns) hono.all(pattern, (context) => server.answerMount(mount, context, app));
  }
  hono.notFound((context) => server.answer('', context, () => server.call('', [], context)));
  return app;
}

/** Registers the public pages: health of the server and description of its API. */
const PAGES: Readonly<Record<string, (version: string) => HttpReply>> = {
  '/healthz': (version) => json({ status: 'ok', version }),
  '/v1/openapi.json': madeOnce((version) => json(openApiDocument(version))),
  '/v1/openapi.yaml': madeOnce((version) => plain(openApiYaml(version), 200, 'application/yaml')),
};

/** Tells a load balancer whether to send requests here. */
function readiness(isReady: boolean): HttpReply {
  return json({ status: isReady ? 'ready' : 'waiting' }, isReady ? 200 : 503);
}

/** Generating the document takes 20 ms, which unauthenticated clients must not be able to cause repeatedly. */
function madeOnce(make: (version: string) => HttpReply): (version: string) => HttpReply {
  const made = new Map<string, HttpReply>();
  return (version) => {
    const reply = made.get(version) ?? make(version);
    made.set(version, reply);
    return reply;
  };
}

/** Memory of a piece of a file and of the next one, which is read ahead. */
const CONTENT_BYTES_HELD = 512 * 1024;

/** Returns the memory that an answer takes until it is read. Events are shared by their followers. */
function bytesHeld({ row }: Route, { body }: HttpReply): number {
  if (body instanceof Uint8Array) return body.byteLength;
  return row.stream === 'content' ? CONTENT_BYTES_HELD : 0;
}

function stopping(): Error {
  return fault('ENGINE_UNAVAILABLE', { reason: 'it is stopping' });
}

type AppContext = Context<{ Bindings: AdapterBindings }>;

/** Server that every request passes through. */
class Server {
  readonly #options: AppOptions;
  readonly #metrics: HttpMetrics;

  constructor(options: AppOptions) {
    this.#options = options;
    this.#metrics = options.metrics ?? new HttpMetrics();
  }

  /** Calls the handler for the method among the routes of a path; HEAD falls back to GET. */
  async call(path: string, routes: readonly Route[], context: AppContext): Promise<HttpReply> {
    const { raw: request } = context.req;
    const principal = await authenticate(this.#options.authentication, request);
    const found =
      routes.find(({ row }) => row.method === request.method) ??
      routes.find(({ row }) => row.method === 'GET' && request.method === 'HEAD');
    const asked = path === '' ? context.req.path.slice(0, 200) : `/v1${path}`;
    if (found === undefined) throw fault('ROUTE_NOT_FOUND', { route: `${request.method} ${asked}` });
    authorize(principal, found.row.permissions);
    const reply = await found.handle(await this.#call(found, principal, context));
    return { ...reply, held: { project: principal.project, bytes: bytesHeld(found, reply) } };
  }

  async #call({ row }: Route, principal: Principal, context: AppContext): Promise<Call> {
    const request = context.req.raw;
    const { contreeFor, log, tokens, engine, projects, pages, closing } = this.#options;
    const search = new URL(request.url).searchParams;
    const parsed = {
      subject: readSubject(row, context.req.param() as Readonly<Record<string, string>>),
      query: readQuery(row.query, search),
      wireQuery: readQuery(row.wireQuery, search),
      body: await readBody(request, row),
    };
    return {
      contree: contreeFor(principal, request),
      log,
      ...present({ tokens, engine, projects, pages, closing }),
      principal,
      // Parsed according to the row from which the handler gets its types.
      ...(parsed as Pick<Call, keyof typeof parsed>),
      request,
      signal: request.signal,
    };
  }

  /** Answers with the reply or with the error; never rejects. */
  answer(route: string, context: AppContext, reply: () => Promise<HttpReply>): Promise<Response> {
    return this.#observe(route, context, async ({ raw }) => {
      const made = await reply();
      this.#hold(made, context);
      return toResponse(this.#watched(made, context), raw);
    });
  }

  #hold({ held }: HttpReply, { env }: AppContext): void {
    // Requests from within the process, of the mounted MCP server, have no connection.
    const outgoing = env?.outgoing;
    if (held === undefined || held.bytes === 0 || outgoing?.once === undefined) return;
    const hold = this.#options.held?.hold({ ...held, cut: () => outgoing.destroy() });
    if (hold !== undefined) outgoing.once('close', () => hold[Symbol.dispose]());
  }

  answerMount(mount: Mount, context: AppContext, app: App): Promise<Response> {
    return this.#observe(mount.path, context, async ({ raw }) => {
      const principal = mount.open ? undefined : await authenticate(this.#options.authentication, raw);
      return mount.fetch(raw, principal, app);
    });
  }

  async metrics(request: Request): Promise<HttpReply> {
    const principal = await authenticate(this.#options.authentication, request);
    authorize(principal, ['metrics', 'admin']);
    const more = (await this.#options.moreMetrics?.()) ?? [];
    return plain(
      this.#metrics.render(this.#options.activity?.inFlight ?? 0, more),
      200,
      'text/plain; version=0.0.4; charset=utf-8',
    );
  }

  /**
   * Wraps a body so that a failure in the middle cuts the connection: the answer must not look complete, and must not
   * contain the error, which the adapter would print into it.
   */
  #watched(reply: HttpReply, context: AppContext): HttpReply {
    const { body } = reply;
    if (body === undefined || body instanceof Uint8Array) return reply;
    const { log } = this.#options;
    const { raw, path } = context.req;
    const source = body[Symbol.asyncIterator]();
    const watched = (async function* () {
      try {
        yield* { [Symbol.asyncIterator]: () => source };
      } catch (error) {
        if (!raw.signal.aborted) toFault(error, log, { method: raw.method, path });
        context.env.outgoing?.destroy();
      }
    })();
    return { ...reply, body: endsSource(watched, source) };
  }

  /** Checks, answers and counts one request. */
  async #observe(
    route: string,
    context: AppContext,
    respond: (request: AppContext['req']) => Promise<Response>,
  ): Promise<Response> {
    const { raw, path } = context.req;
    const { origin, log, closing } = this.#options;
    const startedMs = performance.now();
    const given = raw.headers.get('x-request-id') ?? '';
    const fields = { request_id: REQUEST_ID.test(given) ? given : randomUUID(), method: raw.method, path };
    let response: Response;
    try {
      if (origin) checkOrigin(raw, origin);
      // Answered before anything is done, so that the client can retry, and then finds or starts the next engine.
      if (closing?.aborted) throw stopping();
      response = await respond(context.req);
    } catch (error) {
      response = await this.#refusal(error, raw, fields);
    }
    response.headers.set('X-Request-Id', fields.request_id);
    response.headers.set('X-Content-Type-Options', 'nosniff');
    const ms = performance.now() - startedMs;
    this.#metrics.observe(`${raw.method} ${route}`, response.status, ms / 1000);
    // Only requests that change something are logged.
    const level = raw.method === 'GET' || raw.method === 'HEAD' ? 'debug' : 'info';
    log[level]({ ...fields, status: response.status, ms: Math.round(ms) }, 'request');
    return response;
  }

  async #refusal(error: unknown, request: Request, fields: Readonly<Record<string, unknown>>): Promise<Response> {
    // The client has disconnected, so nothing is answered; an operation that it waited for continues.
    if (request.signal.aborted && !isFault(error)) return new Response(null, { status: 499 });
    const { closing } = this.#options;
    if (closing?.aborted && error === closing.reason) return this.#refusal(stopping(), request, fields);
    return toResponse(faultReply(toFault(error, this.#options.log, fields)), request);
  }
}
