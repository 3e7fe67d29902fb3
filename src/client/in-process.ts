import { Readable } from 'node:stream';
import type { ReadableStream as NodeStream } from 'node:stream/web';
import { present } from '../std/present.ts';
import { httpContree, type HttpContree } from './http-contree.ts';
import { Requester } from './requester.ts';
import { jsonLines } from '../std/json-lines.ts';
import { contentType, search, type ServerAnswer, type Outgoing, type Sender } from './transport.ts';

/** A server in this process: its fetch function. It calls `outgoing.destroy()` when an answer is aborted. */
export type ServerFetch = (
  request: Request,
  connection: { readonly outgoing: { destroy(): unknown } },
) => Promise<Response>;

/** Returns a `ConTree` that is a client of a server in the same process, with the permissions that the headers give. */
export function inProcessContree(fetch: ServerFetch, headers: Readonly<Record<string, string>>): HttpContree {
  const requester = new Requester({ transport: new InProcess(fetch, headers), checked: false });
  return httpContree(requester);
}

/** Transport that passes requests to a server without a connection. */
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
    // There is no peer that could be gone, so silence has no time limit.
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
      headers: { host: 'localhost', ...present({ 'Content-Type': type }), ...this.#headers, ...headers },
      ...(body !== undefined && { body, duplex: 'half' }),
    });
  }
}
