import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { isFault } from '../contract/errors.ts';
import { defined } from '../std/assert.ts';
import { collect } from '../std/bytes.ts';
import { present } from '../std/present.ts';
import { tokenPageOf, type Accounts } from '../tools/index.ts';
import { messagePage, signInPage } from './sign-in-page.ts';
import { settlesWithin, untilAborted } from '../std/abort.ts';

const PAGE_LIFE_MS = 10 * 60_000;
const ATTEMPTS_MAX = 5;
const FORM_BYTES_MAX = 256 * 1024;
const PAGES_MAX = 20;

interface Page {
  readonly registry: string;
  readonly done: PromiseWithResolvers<void>;
  readonly expiresMs: number;
  attempts: number;
}

/**
 * HTTP server on loopback on which the user enters registry credentials, so that they pass neither the model nor the
 * client. A page has an unguessable URL, expires after ten minutes and accepts one successful sign-in. The server
 * listens only while there are pages.
 */
export class SignInServer implements AsyncDisposable {
  readonly #accounts: Accounts | undefined;
  readonly #pages = new Map<string, Page>();
  #server: Promise<Server> | undefined;
  #expiry: NodeJS.Timeout | undefined;

  constructor(accounts: Accounts | undefined) {
    this.#accounts = accounts;
  }

  get available(): boolean {
    return this.#accounts !== undefined;
  }

  /** Opens a page for a registry and returns its URL and id. */
  async open(registry: string): Promise<{ id: string; url: string }> {
    this.#server ??= this.#listen();
    const server = await this.#server;
    const oldest = this.#pages.keys().next();
    if (this.#pages.size >= PAGES_MAX && !oldest.done) this.#pages.delete(oldest.value);
    const id = randomBytes(16).toString('hex');
    const expiresMs = Date.now() + PAGE_LIFE_MS;
    this.#pages.set(id, { registry, done: Promise.withResolvers(), expiresMs, attempts: 0 });
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => void this[Symbol.asyncDispose](), PAGE_LIFE_MS);
    this.#expiry.unref();
    return { id, url: `${originOf(server)}/auth/${id}` };
  }

  /** Waits until the user has signed in on that page; returns false when the time is up or the page has expired. */
  async wait(id: string, waitMs: number, signal: AbortSignal): Promise<boolean> {
    const page = this.#pages.get(id);
    if (page === undefined) return false;
    return await untilAborted(settlesWithin(page.done.promise, waitMs), signal).catch(() => false);
  }

  close(id: string): void {
    this.#pages.delete(id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#expiry);
    this.#pages.clear();
    const server = await this.#server?.catch(() => undefined);
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  /** Starts to listen. Loaded on demand: most sessions never sign in. */
  async #listen(): Promise<Server> {
    const { createServer } = await import('node:http');
    const server = createServer((request, response) => void this.#answer(server, request, response));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    server.unref();
    return server;
  }

  async #answer(server: Server, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const nonce = randomBytes(16).toString('base64');
    const reply = (status: number, html: string): void => {
      response.writeHead(status, {
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-store',
        // Not no-referrer: with it browsers send no usable Origin, which distinguishes our own form from others.
        'referrer-policy': 'same-origin',
        'x-content-type-options': 'nosniff',
        'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`,
      });
      response.end(html);
    };
    try {
      const { status, html } = await this.#handle(originOf(server), request, nonce);
      reply(status, html);
    } catch {
      reply(400, messagePage('Not understood', 'Close this page and sign in again.', nonce));
    }
  }

  async #handle(origin: string, request: IncomingMessage, nonce: string): Promise<{ status: number; html: string }> {
    const id = /^\/auth\/([0-9a-f]{32})$/u.exec(request.url ?? '')?.[1] ?? '';
    const page = this.#pages.get(id);
    // A foreign host name for this address is a DNS rebinding attack.
    if (`http://${request.headers.host}` !== origin || page === undefined || page.expiresMs < Date.now()) {
      return { status: 404, html: messagePage('This page has expired', 'Ask for a new one and open that.', nonce) };
    }
    const tokenPage = tokenPageOf(page.registry);
    const form = { registry: page.registry, ...present({ tokenPage }) };
    if (request.method !== 'POST') return { status: 200, html: signInPage(form, nonce) };
    if (request.headers.origin !== origin) {
      return { status: 403, html: messagePage('Refused', 'The form was not sent by this page.', nonce) };
    }
    page.attempts += 1;
    if (page.attempts > ATTEMPTS_MAX) this.#pages.delete(id);
    const fields = new URLSearchParams((await collect(request, FORM_BYTES_MAX)).toString('utf8'));
    const credentials = {
      username: (fields.get('username') ?? '').trim(),
      secret: (fields.get('secret') ?? '').trim(),
    };
    const problem = await this.#signIn(page.registry, credentials);
    if (problem !== undefined) return { status: 200, html: signInPage({ ...form, problem }, nonce) };
    page.done.resolve();
    this.#pages.delete(id);
    return { status: 200, html: messagePage(`Signed in to ${page.registry}`, 'You can close this page.', nonce) };
  }

  async #signIn(registry: string, credentials: { username: string; secret: string }): Promise<string | undefined> {
    try {
      await defined(this.#accounts, 'pages exist only with accounts').signIn(registry, credentials);
      return undefined;
    } catch (error) {
      return isFault(error) ? error.message : 'The sign-in failed.';
    }
  }
}

function originOf(server: Server): string {
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return `http://127.0.0.1:${port}`;
}
