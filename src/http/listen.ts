import { once } from 'node:events';
import { chmod, lstat, mkdir, readFile, rm } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { createAdaptorServer } from '@hono/node-server';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { settlesWithin } from '../std/abort.ts';
import type { Activity } from './activity.ts';
import type { App } from './app.ts';
import { boundConnections, connectionBounds } from './connections.ts';

/** Address of a listener. */
export type Where =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly tls?: TlsFiles }
  /** Listening socket passed by systemd. */
  | { readonly kind: 'inherited'; readonly descriptor: number; readonly tls?: TlsFiles };

/** Paths of PEM files. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/**
 * Open listener. Disposing it stops accepting, gives current answers a moment to finish, then closes their connections.
 */
export interface Listener extends AsyncDisposable {
  /** URL, or the path of the unix socket. */
  readonly address: string;
}

/** Interval of checks for connections that have not sent their headers yet. */
const HEADERS_LOOK_MS = 1_000;
const KEEP_ALIVE_MS = 60_000;
const CLOSE_GRACE_MS = 1_000;

/** Answers to requests that the application does not see, such as those for pages of instances. */
export interface Diversion<Target> {
  /** Returns what a request is for; undefined to leave it to the application. */
  find(request: IncomingMessage): Target | undefined;
  /** Answers a request. Never rejects. */
  answer(target: Target, request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Answers a request that asks to switch protocols. Never rejects. */
  upgrade(target: Target, request: IncomingMessage, socket: Duplex, first: Buffer): Promise<void>;
}

/** Answers to one request. */
interface Diverted {
  readonly answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  readonly upgrade: (request: IncomingMessage, socket: Duplex, first: Buffer) => Promise<void>;
}

/** Returns two diversions as one: what the first does not know is for the second. */
export function either<First, Second>(first: Diversion<First>, second: Diversion<Second>): Diversion<Diverted> {
  return {
    find: (request) => diverted(first, request) ?? diverted(second, request),
    answer: ({ answer }, request, response) => answer(request, response),
    upgrade: ({ upgrade }, ...given) => upgrade(...given),
  };
}

function diverted<Target>(diversion: Diversion<Target>, request: IncomingMessage): Diverted | undefined {
  const target = diversion.find(request);
  if (target === undefined) return undefined;
  return {
    answer: (...given) => diversion.answer(target, ...given),
    upgrade: (...given) => diversion.upgrade(target, ...given),
  };
}

/** Passes requests to pages of instances, or to connections to their ports, before the application sees them. */
function divert<Target>(server: Server, pages: Diversion<Target>, activity: Activity): void {
  const others = server.listeners('request') as ((request: IncomingMessage, response: ServerResponse) => void)[];
  server.removeAllListeners('request');
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const page = pages.find(request);
    if (page !== undefined) void pages.answer(page, request, response);
    else for (const other of others) other(request, response);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, first: Buffer) => {
    const page = pages.find(request);
    if (page === undefined) {
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    activity.began();
    socket.once('close', () => activity.ended());
    void pages.upgrade(page, request, socket, first);
  });
}

/** Opens a listener. Faults: CONFIG_INVALID when the address or the certificate cannot be used. */
export async function listen<Target>(
  app: App,
  where: Where,
  activity: Activity,
  pages?: Diversion<Target>,
): Promise<Listener> {
  const server = await createServer(app, where.kind === 'unix' ? undefined : where.tls);
  // Request bodies have no time limit.
  server.headersTimeout = limits.headersMsMax;
  server.requestTimeout = 0;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  // The owner's socket has no connection limit: only the owner can open it, and it has to work however busy the other
  // is.
  if (where.kind !== 'unix') boundConnections(server, await connectionBounds());
  server.on('request', (_request, response) => {
    activity.began();
    response.once('close', () => activity.ended());
  });
  if (pages !== undefined) divert(server, pages, activity);
  try {
    await open(server, where);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw fault('CONFIG_INVALID', { setting: settingOf(where), reason }, { cause: error });
  }
  return { address: addressOf(server, where), [Symbol.asyncDispose]: () => close(server, where) };
}

function settingOf(where: Where): string {
  if (where.kind === 'unix') return 'data-dir';
  return where.kind === 'tcp' ? '--http-listen or --http-port' : 'LISTEN_FDS';
}

async function createServer(app: App, tls: TlsFiles | undefined): Promise<Server> {
  const options = { fetch: app, overrideGlobalObjects: false };
  const common = { connectionsCheckingInterval: HEADERS_LOOK_MS };
  if (tls === undefined) {
    return createAdaptorServer({ ...options, createServer: createHttpServer, serverOptions: common }) as Server;
  }
  const [cert, key] = await Promise.all([pem(tls.cert, 'tls-cert'), pem(tls.key, 'tls-key')]);
  const handshakeTimeout = limits.headersMsMax;
  const serverOptions = { ...common, cert, key, handshakeTimeout, minVersion: 'TLSv1.2' as const };
  try {
    return createAdaptorServer({ ...options, createServer: createHttpsServer, serverOptions }) as Server;
  } catch (error) {
    const reason = 'the certificate or its key is damaged, or they do not belong together';
    throw fault('CONFIG_INVALID', { setting: 'tls-cert', reason }, { cause: error });
  }
}

async function pem(path: string, setting: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw fault('CONFIG_INVALID', { setting, reason: 'the file cannot be read' }, { cause: error });
  }
}

async function open(server: Server, where: Where): Promise<void> {
  if (where.kind === 'unix') await prepareSocket(where.path);
  const listening = once(server, 'listening');
  if (where.kind === 'unix') server.listen(where.path);
  else if (where.kind === 'tcp') server.listen(where.port, where.host);
  else server.listen({ fd: where.descriptor });
  await listening;
  if (where.kind === 'unix') await chmod(where.path, 0o600);
}

/**
 * Listens on a Unix socket. Its folder is private, so nobody can connect before the socket's own mode is set. A socket
 * left behind by an earlier engine is replaced.
 */
async function prepareSocket(path: string): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const info = await lstat(folder);
  const owner = process.getuid?.();
  if (!info.isDirectory() || (owner !== undefined && info.uid !== owner)) {
    throw new Error('the folder of the socket belongs to someone else');
  }
  await chmod(folder, 0o700);
  await rm(path, { force: true });
}

function addressOf(server: Server, where: Where): string {
  if (where.kind === 'unix') return where.path;
  const { address, port, family } = server.address() as AddressInfo;
  return `${where.tls ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

async function close(server: Server, where: Where): Promise<void> {
  // The name is removed first: new clients then find no engine and start a new one, instead of losing their connection.
  if (where.kind === 'unix') await rm(where.path, { force: true });
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  await settlesWithin(closed, CLOSE_GRACE_MS);
  server.closeAllConnections();
  await closed;
}
