import { Readable } from 'node:stream';
import type { ReadableStream as NodeStream } from 'node:stream/web';
import { httpContree, type HttpContree } from './http-contree.ts';
import { Requester } from './requester.ts';
import { jsonLines } from '../std/json-lines.ts';
import { contentType, search, type ServerAnswer, type Outgoing, type Sender } from './transport.ts';

/** A server in this process: its fetch function. `outgoing.destroy()` says that an answer broke off half-way. */
export type ServerFetch = (
  request: Request,
  connection: { readonly outgoing: { destroy(): unknown } },
) => Promise<Response>;

/** `ConTree` as one client of a server in the same process sees it: with the rights that the headers give. */
export function inProcessContree(fetch: ServerFetch, headers: Readonly<Record<string, string>>): HttpContree {
  const requester = new Requester({ transport: new InProcess(fetch, headers), checked: false });
  return httpContree(requester);
}

/** Hands requests to a server without a connection in between; all else is as over one. */
class InProcess implements Sender {
  readonly #fetch: ServerFetch;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(fetch: ServerFetch, headers: Readonly<Record<string, string>>) {
    this.#fetch = fetch;
    this.#headers = headers;
  }

  async send(outgoing: Outgoing, signal?: AbortSignal): Promise<ServerAnswer> {
    const leave = new AbortController();
    const ends = signal === undefined ? leave.signal : AbortSignal.any([leave.signal, signal]);
    let broken: () => void = () => undefined;
    const connection = { outgoing: { destroy: () => broken() } };
    const { status, headers, body } = await this.#fetch(this.#request(outgoing, ends), connection);
    const bytes = body === null ? Readable.from([]) : Readable.fromWeb(body as NodeStream<Uint8Array>);
    broken = () => bytes.destroy(new Error('the answer broke off'));
    bytes.once('close', () => leave.abort());
    // Silence cannot mean that the peer is gone.
    return Object.assign(bytes, {
      statusCode: status,
      headers: Object.fromEntries(headers),
      setTimeout: () => undefined,
    });
  }

  #request(outgoing: Outgoing, signal: AbortSignal): Request {
    const { method, path, query, headers, json, lines, bytes = lines && jsonLines(lines) } = outgoing;
    const type = contentType(outgoing);
    const body = json === undefined ? bytes && ReadableStream.from(bytes) : JSON.stringify(json);
    return new Request(`http://localhost/v1${path}${search(query)}`, {
      method,
      signal,
      headers: { host: 'localhost', ...(type !== undefined && { 'Content-Type': type }), ...this.#headers, ...headers },
      ...(body !== undefined && { body, duplex: 'half' }),
    });
  }
}
