import { mkdtemp, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Activity } from '../../../src/http/activity.ts';
import { createApp, type AppOptions } from '../../../src/http/app.ts';
import { OWNER } from '../../../src/http/auth.ts';
import { listen, type Where } from '../../../src/http/listen.ts';
import { SILENT } from '../../../src/http/log.ts';
import { ScriptedContree } from '../scripted/contree.ts';

/** A server with a scripted ConTree, and functions for sending raw requests. */
export interface TestServer extends AsyncDisposable, Wire {
  readonly contree: ScriptedContree;
  readonly address: string;
  readonly folder: string;
  readonly activity: Activity;
}

/** Sends raw bytes, one request per connection. */
export interface Wire {
  send(method: string, path: string, options?: SendOptions): Promise<Answer>;
  /** Returns the answer as soon as its headers have arrived. */
  open(method: string, path: string, options?: SendOptions): Promise<IncomingMessage>;
}

export interface SendOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Body; an object is sent as JSON. */
  readonly body?: string | Uint8Array | object;
  readonly setHost?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  readonly json: unknown;
}

export async function startServer(
  options: Partial<AppOptions> & { readonly kind?: 'tcp' | 'unix'; readonly contree?: ScriptedContree } = {},
): Promise<TestServer> {
  await using cleanup = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'contree-http-'));
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const contree = cleanup.use(options.contree ?? new ScriptedContree());
  const authentication = { kind: 'fixed', principal: OWNER } as const;
  const closing = new AbortController();
  const app = createApp({
    log: SILENT,
    version: '1.2.3',
    authentication,
    closing: closing.signal,
    ...options,
    contreeFor: () => contree,
  });
  const unix: Where = { kind: 'unix', path: join(folder, 'engine.sock') };
  const where: Where = options.kind === 'unix' ? unix : { kind: 'tcp', host: '127.0.0.1', port: 0 };
  const activity = new Activity();
  const { address } = cleanup.use(await listen(app, where, activity));
  cleanup.defer(() => closing.abort());
  const owned = cleanup.move();
  return {
    contree,
    address,
    folder,
    activity,
    ...wire(address),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Sends requests to a URL or the path of a Unix socket. */
export function wire(address: string): Wire {
  const open: Wire['open'] = (method, path, options) => openRequest(address, method, path, options);
  return {
    open,
    send: async (method, path, options) => {
      const response = await open(method, path, options);
      const body = await text(response);
      return { status: response.statusCode ?? 0, headers: response.headers, text: body, json: parse(body) };
    },
  };
}

function openRequest(
  address: string,
  method: string,
  path: string,
  { headers = {}, body, setHost }: SendOptions = {},
): Promise<IncomingMessage> {
  const { hostname, port } = address.startsWith('/') ? { hostname: 'localhost', port: '' } : new URL(address);
  const target = address.startsWith('/') ? { socketPath: address } : { hostname, port };
  const bytes =
    body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sent = request({ ...target, method, path, headers, agent: false, ...(setHost !== undefined && { setHost }) });
    sent.once('response', resolve).once('error', reject);
    sent.end(bytes);
  });
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
