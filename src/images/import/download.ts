import { fault } from '../../contract/errors.ts';
import { AddressGuard } from '../../registry/address.ts';
import type { RegistrySettings } from '../../registry/client.ts';
import { networkFailure, NetworkError, Transport } from '../../registry/transport.ts';
import { present } from '../../std/present.ts';
import { atMost } from '../../std/streams.ts';

/** Answer to a download. The body must be read to its end or given up. */
export interface Download {
  readonly body: AsyncIterable<Uint8Array>;
  /** Time of the last change that the server states, seconds since 1970. */
  readonly modifiedSeconds: number | undefined;
}

/** Answer of a server that is not the file. */
export class DownloadRefused extends Error {
  override readonly name = 'DownloadRefused';

  constructor(status: number) {
    super(`status ${status}`);
  }
}

/** Downloads a URL that a Dockerfile names, of at most so many bytes. */
export type Downloader = (url: URL, bytesMax: number, signal: AbortSignal) => Promise<Download>;

/**
 * Returns the downloader of builds. The rules are those of imports, but a URL permits no private address by naming it:
 * Dockerfiles come from others. Faults: REGISTRY_ADDRESS_DENIED, REGISTRY_UNREACHABLE,
 * FILE_TOO_LARGE, also while the body is read. Rejects with DownloadRefused for another status than 200.
 */
export function downloader(settings: RegistrySettings): Downloader {
  return async (url, bytesMax, signal) => {
    const guard = new AddressGuard({ named: url.host, allowed: settings.allowed ?? [], privateByName: false });
    const transport = new Transport({
      guard,
      plainHttp: () => true,
      ...present({ proxy: settings.proxy, ca: settings.ca, silenceMs: settings.silenceMs }),
    });
    try {
      const { status, headers, body } = await transport.send({ method: 'GET', url }, signal);
      if (status !== 200) throw new DownloadRefused(status);
      const modified = Date.parse(headers['last-modified'] ?? '');
      const modifiedSeconds = Number.isNaN(modified) ? undefined : Math.floor(modified / 1_000);
      // Said at once where the server says it, and counted in any case.
      const stated = Number(headers['content-length'] ?? 0);
      if (stated > bytesMax) throw tooLarge(url, stated, bytesMax);
      const bounded = atMost(body, bytesMax, () => tooLarge(url, bytesMax + 1, bytesMax));
      return { body: disposing(bounded, transport, { url, signal }), modifiedSeconds };
    } catch (error) {
      await transport[Symbol.asyncDispose]();
      throw failure(error, url);
    }
  };
}

async function* disposing(
  body: AsyncIterable<Uint8Array>,
  transport: Transport,
  { url, signal }: { readonly url: URL; readonly signal: AbortSignal },
): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    throw failure(networkFailure(error, url, signal), url);
  } finally {
    await transport[Symbol.asyncDispose]();
  }
}

function failure(error: unknown, url: URL): unknown {
  return error instanceof NetworkError ? unreachable(url, error.message, error) : error;
}

function tooLarge({ pathname }: URL, bytes: number, limit: number): Error {
  return fault('FILE_TOO_LARGE', { path: pathname, bytes, limit });
}

function unreachable(url: URL, reason: string, cause?: unknown): Error {
  return fault('REGISTRY_UNREACHABLE', { registry: url.host, reason }, { cause });
}
