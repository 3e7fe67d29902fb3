import { gzipSync, zstdCompressSync } from 'node:zlib';
import { RegistryClient, type RegistrySettings } from '../../src/registry/client.ts';
import type { CredentialSource } from '../../src/registry/auth/credentials.ts';
import type { OciImage } from '../../src/registry/oci-image.ts';
import type { Platform } from '../../src/registry/platform.ts';
import { openImage } from '../../src/registry/pull.ts';
import { parseReference } from '../../src/registry/reference.ts';
import { OCI, sha256, type TestLayer } from '../support/servers/registry.ts';

export const PLATFORM: Platform = { os: 'linux', architecture: 'amd64' };

export interface OpenOptions {
  readonly settings?: RegistrySettings;
  readonly credentials?: CredentialSource;
  readonly platform?: Platform;
  readonly signal?: AbortSignal;
}

/** An image opened over HTTP with everything that is disposed with it. */
export interface Opened extends AsyncDisposable {
  readonly image: OciImage;
  readonly client: RegistryClient;
  /** Delay of each retry, in milliseconds; nothing really waits. */
  readonly waits: readonly number[];
}

export async function openReference(text: string, options: OpenOptions = {}): Promise<Opened> {
  const { settings = {}, credentials = async () => undefined, platform = PLATFORM } = options;
  const { signal = AbortSignal.timeout(20_000) } = options;
  const reference = parseReference(text);
  const waits: number[] = [];
  const wait = async (ms: number) => void waits.push(Math.round(ms));
  const client = new RegistryClient(reference.registry, { wait, ...settings }, credentials);
  try {
    const image = await openImage({ client, reference, platform }, signal);
    return { image, client, waits, [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() };
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw Object.assign(error as Error, { waits });
  }
}

/** Bytes in place of a tar that is not parsed. */
export function layerOf(text: string, compression: 'none' | 'gzip' | 'zstd' = 'gzip'): TestLayer {
  const tar = Buffer.from(text);
  const diffId = sha256(tar);
  if (compression === 'none') return { bytes: tar, diffId, mediaType: OCI.layer };
  if (compression === 'zstd') return { bytes: zstdCompressSync(tar), diffId, mediaType: OCI.zstd };
  return { bytes: gzipSync(tar), diffId, mediaType: OCI.gzip };
}

export async function read(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}
