import { fault } from '../contract/errors.ts';
import { collect } from '../std/bytes.ts';
import { type HttpResponse, networkFailure } from './transport.ts';

/** Bound of the length of a body, and its name in the fault. */
export interface BodyBound {
  readonly what: string;
  readonly bytesMax: number;
}

/** A response whose body has been read. */
export interface RegistryResponse extends Omit<HttpResponse, 'body'> {
  /** Body; empty unless the status is 200. */
  readonly bytes: Buffer;
}

/** Reads the body of a response that is expected to be small. Rejects like `readBytes`. */
export async function readResponse(
  response: HttpResponse,
  bound: BodyBound,
  signal: AbortSignal,
): Promise<RegistryResponse> {
  const { status, headers, url } = response;
  if (status !== 200) return readHeaders(response);
  return { status, headers, url, bytes: await readBytes(response, bound, signal) };
}

/** Returns the response to HEAD; its content length is that of the response to GET. */
export async function readHeaders({ status, headers, url, body }: HttpResponse): Promise<RegistryResponse> {
  await body.dump();
  return { status, headers, url, bytes: Buffer.alloc(0) };
}

/** Returns the fault for a status that refuses. `missing` is the fault for 404. */
export function refusalOf(
  response: Pick<HttpResponse, 'status' | 'headers'>,
  registry: string,
  missing?: Error,
): Error {
  const { status } = response;
  if (status === 401 || status === 403) return fault('REGISTRY_DENIED', { registry, status });
  if (status === 404 && missing !== undefined) return missing;
  if (status === 429) {
    const waitMs = retryAfterMs(response);
    const seconds = waitMs === undefined ? {} : { retryAfterSeconds: Math.ceil(waitMs / 1000) };
    return fault('REGISTRY_RATE_LIMITED', { registry, ...seconds });
  }
  if (status >= 500) return fault('REGISTRY_UNREACHABLE', { registry, reason: `HTTP ${status}` });
  return fault('REGISTRY_PROTOCOL', { registry, reason: `it responded with HTTP ${status}` });
}

/** Returns the delay from a valid `Retry-After` header (RFC 9110 §10.2.3: seconds or a date). */
export function retryAfterMs({ headers }: Pick<HttpResponse, 'headers'>): number | undefined {
  const value = headers['retry-after'];
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/u.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** Reads the whole body, up to the bound. Rejects with NetworkError, IMAGE_LIMIT, or the signal's reason. */
async function readBytes(response: HttpResponse, bound: BodyBound, signal: AbortSignal): Promise<Buffer> {
  const tooLong = () => fault('IMAGE_LIMIT', { what: `bytes of ${bound.what}`, limit: bound.bytesMax });
  if (Number(response.headers['content-length'] ?? 0) > bound.bytesMax) {
    response.body.destroy();
    throw tooLong();
  }
  try {
    return await collect(response.body, bound.bytesMax);
  } catch (error) {
    if (error instanceof RangeError) throw tooLong();
    throw networkFailure(error, response.url, signal);
  }
}
