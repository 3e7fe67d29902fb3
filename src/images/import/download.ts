import { fault } from '../../contract/errors.ts';
import { AddressGuard } from '../../registry/address.ts';
import type { RegistrySettings } from '../../registry/client.ts';
import { NetworkError, Transport } from '../../registry/transport.ts';
import { present } from '../../std/present.ts';

/** Answer to a download. The body must be read to its end or given up. */
export interface Download {
  readonly body: AsyncIterable<Uint8Array>;
  /** Time of the last change that the server states, seconds since 1970. */
  readonly modifiedSeconds: number | undefined;
}

/** Downloads a URL that a Dockerfile names. */
export type Downloader = (url: URL, signal: AbortSignal) => Promise<Download>;

/**
 * Returns the downloader of builds. The rules are those of imports, but a URL permits no private address by naming it:
 * Dockerfiles come from others. Faults: REGISTRY_ADDRESS_DENIED, REGISTRY_UNREACHABLE.
 */
export function downloader(settings: RegistrySettings): Downloader {
  return async (url, signal) => {
    const guard = new AddressGuard({ named: url.host, allowed: settings.allowed ?? [], privateByName: false });
    const transport = new Transport({
      guard,
      plainHttp: () => true,
      ...present({ proxy: settings.proxy, ca: settings.ca }),
    });
    try {
      const { status, headers, body } = await transport.send({ method: 'GET', url }, signal);
      if (status !== 200) throw unreachable(url, `it answers with status ${status}`);
      const modified = Date.parse(headers['last-modified'] ?? '');
      const modifiedSeconds = Number.isNaN(modified) ? undefined : Math.floor(modified / 1_000);
      return { body: disposing(body, transport, url), modifiedSeconds };
    } catch (error) {
      await transport[Symbol.asyncDispose]();
      throw error instanceof NetworkError ? unreachable(url, error.message, error) : error;
    }
  };
}

async function* disposing(body: AsyncIterable<Uint8Array>, transport: Transport, url: URL): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    throw error instanceof NetworkError ? unreachable(url, error.message, error) : error;
  } finally {
    await transport[Symbol.asyncDispose]();
  }
}

function unreachable(url: URL, reason: string, cause?: unknown): Error {
  return fault('REGISTRY_UNREACHABLE', { registry: url.host, reason }, { cause });
}
