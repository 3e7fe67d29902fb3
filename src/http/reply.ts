import { pipeline } from 'node:stream';
import { promisify } from 'node:util';
import { constants, createGzip, gzip } from 'node:zlib';

const gzipBuffer = promisify(gzip);

/** Content-Length above which some clients refuse a JSON answer; without the header they accept any size. */
const JSON_LENGTH_BYTES_MAX = 65_536;
const CHUNK_BYTES = 65_536;

/** Answer of a route before content negotiation. */
export interface HttpReply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** An iterable is sent chunk by chunk at the reader's pace, and closed when the reader disconnects. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  /** Memory that waits for the reader, and the project it belongs to. */
  readonly held?: { readonly project: string; readonly bytes: number };
}

export function json(value: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): HttpReply {
  const body = Buffer.from(JSON.stringify(value));
  return { status, headers: { 'Content-Type': 'application/json', ...headers }, body };
}

export function plain(body: string, status = 200, type = 'text/plain; charset=utf-8'): HttpReply {
  return { status, headers: { 'Content-Type': type }, body: Buffer.from(body) };
}

export function empty(status: number): HttpReply {
  return { status };
}

export function redirect(status: 302 | 307, location: string): HttpReply {
  return { status, headers: { Location: location } };
}

export function stream(
  body: AsyncIterable<Uint8Array>,
  type: string,
  headers: Readonly<Record<string, string>> = {},
): HttpReply {
  return { status: 200, headers: { 'Content-Type': type, 'Cache-Control': 'no-cache', ...headers }, body };
}

/** Reports whether the client accepts gzip; a missing header or `gzip;q=0` means no. */
export function wantsGzip(acceptEncoding: string | null): boolean {
  return (acceptEncoding ?? '').split(',').some((entry) => {
    const [coding = '', ...parameters] = entry.split(';').map((part) => part.trim().toLowerCase());
    const refused = parameters.some((parameter) => /^q=0(?:\.0*)?$/u.test(parameter));
    return (coding === 'gzip' || coding === 'x-gzip') && !refused;
  });
}

/** Encodes a reply for its client. A HEAD request gets the headers of a GET and no body. */
export async function toResponse(reply: HttpReply, request: Request): Promise<Response> {
  const headers = new Headers(reply.headers);
  const { status, body } = reply;
  if (body === undefined || request.method === 'HEAD') {
    if (body !== undefined && !(body instanceof Uint8Array)) await abandon(body);
    return new Response(null, { status, headers });
  }
  headers.append('Vary', 'Accept-Encoding');
  const compress = wantsGzip(request.headers.get('accept-encoding')) && status !== 206;
  if (compress) {
    headers.set('Content-Encoding', 'gzip');
    headers.delete('Content-Length');
  }
  if (!(body instanceof Uint8Array)) {
    return new Response(ReadableStream.from(compress ? gzipped(body) : body), { status, headers });
  }
  const encoded = compress ? await gzipBuffer(body) : body;
  if (encoded.byteLength > JSON_LENGTH_BYTES_MAX) {
    return new Response(ReadableStream.from(chunksOf(encoded)), { status, headers });
  }
  return new Response(new Uint8Array(encoded), { status, headers });
}

/** Flushes each chunk, so that the client can decode the stream as it arrives. */
function gzipped(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  // The reader of the returned stream gets the error too; this callback only prevents a second, uncaught one.
  return pipeline(source, createGzip({ flush: constants.Z_SYNC_FLUSH }), () => undefined);
}

// eslint-disable-next-line typescript/require-await -- ReadableStream.from pulls an async iterable at the reader's pace.
async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.byteLength; offset += CHUNK_BYTES) {
    yield bytes.subarray(offset, offset + CHUNK_BYTES);
  }
}

/** Closes an iterable that will not be read. */
export async function abandon(body: AsyncIterable<unknown>): Promise<void> {
  await body[Symbol.asyncIterator]().return?.();
}
