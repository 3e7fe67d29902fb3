import type { Agent, ClientRequest, IncomingHttpHeaders } from 'node:http';
import { pipeline, type Readable } from 'node:stream';
import { present } from '../std/present.ts';
import { checkOwner } from './local/socket-owner.ts';
import { jsonLines } from '../std/json-lines.ts';

/** Location of a server: below a URL with an optional path prefix, or behind a Unix socket. */
export interface Target {
  /** Without a trailing slash; `http://localhost` for a Unix socket. */
  readonly url: string;
  readonly socket?: string;
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>;
}

/** One request below `/v1`. */
export interface Outgoing {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: RequestQuery | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Body: a value sent as JSON, `lines` as NDJSON, an iterable as bytes. */
  readonly json?: unknown;
  readonly lines?: readonly unknown[] | undefined;
  readonly bytes?: AsyncIterable<Uint8Array> | undefined;
  /** Time limit for the headers of the answer; 0 means none. */
  readonly timeoutMs?: number | undefined;
}

export type RequestQuery = Readonly<Record<string, string | number | boolean | readonly string[] | Date | undefined>>;

/** An answer: its status and headers, and its body as a stream. Node's `IncomingMessage` is one. */
export interface ServerAnswer extends Readable {
  readonly statusCode?: number | undefined;
  readonly headers: IncomingHttpHeaders;
  /** Calls back when no data has arrived for this time. */
  setTimeout(ms: number, callback: () => void): unknown;
}

/** Sender of requests to a server. */
export interface Sender {
  /** Resolves with the headers of the answer, whatever its status. */
  send(outgoing: Outgoing, signal?: AbortSignal): Promise<ServerAnswer>;
}

/** Time that a client gives a server. */
export interface Patience {
  /** Longest time to connect. */
  readonly connectMs: number;
  /** Longest time to the headers of an answer, unless a request has a time limit of its own. */
  readonly answerMs: number;
}

const PATIENCE: Patience = { connectMs: 20_000, answerMs: 120_000 };

/** The connection could not be made, so the server has not seen the request. */
export class ConnectError extends Error {
  override readonly name = 'ConnectError';
}

/** The server took the request and did not begin to answer in time. */
export class SilentError extends Error {
  override readonly name = 'SilentError';
}

const NOT_CONNECTED = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EACCES',
]);

/**
 * Returns Node's HTTP module. An `import` of it would read all its exports, of which `WebSocket` loads 50 ms of undici,
 * more than the rest of a command takes.
 */
function http() {
  return process.getBuiltinModule('node:http');
}

/** Loaded for remote servers only: a command that talks to the local engine does not need TLS. */
function https() {
  return process.getBuiltinModule('node:https');
}

/**
 * HTTP/1.1 with keep-alive, by Node's own client: loading `undici` would take a command 60 ms. Proxies are taken from
 * the environment for https only, because a local server is never behind one.
 */
export class HttpTransport implements Sender, Disposable {
  readonly #target: Target;
  readonly #agent: Agent;
  readonly #secure: boolean;
  readonly #patience: Patience;

  constructor(target: Target, env: Readonly<Record<string, string | undefined>> = {}, patience = PATIENCE) {
    this.#target = target;
    this.#patience = patience;
    this.#secure = target.url.startsWith('https:');
    const keep = { keepAlive: true, maxFreeSockets: 16 };
    this.#agent = this.#secure ? new (https().Agent)({ ...keep, proxyEnv: env }) : new (http().Agent)(keep);
  }

  /** Resolves with the headers of the answer, whatever its status. Rejects with ConnectError or what broke. */
  async send(outgoing: Outgoing, signal?: AbortSignal): Promise<ServerAnswer> {
    signal?.throwIfAborted();
    const sent = this.#open(outgoing, signal);
    const answered = Promise.withResolvers<ServerAnswer>();
    sent.once('response', answered.resolve);
    sent.once('error', (error) => answered.reject(signal?.aborted ? signal.reason : classified(error)));
    boundConnecting(sent, this.#patience.connectMs);
    const limit = outgoing.timeoutMs ?? this.#patience.answerMs;
    const timer =
      limit === 0 ? undefined : setTimeout(() => sent.destroy(new SilentError(`no answer in ${limit} ms`)), limit);
    try {
      writeBody(sent, outgoing, answered.reject);
      return await answered.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #open(outgoing: Outgoing, signal: AbortSignal | undefined): ClientRequest {
    const { method, path, query, headers } = outgoing;
    const { url, socket } = this.#target;
    if (socket !== undefined) checkOwner(socket);
    const base = new URL(url);
    const type = contentType(outgoing);
    const options = {
      method,
      agent: this.#agent,
      path: `${base.pathname.replace(/\/$/u, '')}/v1${path}${search(query)}`,
      headers: { ...this.#target.headers, ...(type && { 'Content-Type': type }), ...headers },
      ...(socket === undefined
        ? { hostname: base.hostname.replace(/^\[|\]$/gu, ''), port: base.port }
        : { socketPath: socket }),
      ...present({ signal }),
    };
    return this.#secure ? https().request(options) : http().request(options);
  }
}

/** Destroys a request that gets no connection in time. One that is kept alive is connected already. */
function boundConnecting(sent: ClientRequest, ms: number): void {
  sent.once('socket', (socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(() => sent.destroy(new ConnectError(`no connection in ${ms} ms`)), ms);
    const connected = (): void => clearTimeout(timer);
    socket.once('connect', connected).once('close', connected);
  });
}

/** Returns the content type of a request; undefined without a body. */
export function contentType({ json, lines, bytes }: Outgoing): string | undefined {
  if (json !== undefined) return 'application/json';
  if (lines !== undefined) return 'application/x-ndjson';
  return bytes && 'application/octet-stream';
}

function writeBody(sent: ClientRequest, outgoing: Outgoing, fail: (error: unknown) => void): void {
  const { json, lines, bytes = lines && jsonLines(lines) } = outgoing;
  if (bytes === undefined) {
    const body = json === undefined ? undefined : Buffer.from(JSON.stringify(json));
    if (body) sent.setHeader('Content-Length', body.byteLength);
    sent.end(body);
    return;
  }
  // No effect once the answer has come: a server may answer and close before it has read the whole request.
  pipeline(bytes, sent, (error) => error && fail(classified(error)));
}

/** Returns the query string with its question mark; empty without parameters. */
export function search(query: RequestQuery = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === false) continue;
    for (const entry of Array.isArray(value) ? (value as readonly string[]) : [value])
      parameters.append(name, text(entry));
  }
  const encoded = parameters.toString();
  return encoded === '' ? '' : `?${encoded}`;
}

function text(value: unknown): string {
  if (value === true) return '1';
  return value instanceof Date ? value.toISOString() : String(value);
}

function classified(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  return NOT_CONNECTED.has(code ?? '') ? new ConnectError(message, { cause: error }) : error;
}
