import { Readable } from 'node:stream';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { RegistryClient } from './client.ts';
import { type Digest, digestOf } from './digest.ts';
import { formatReference, manifestName, type OciReference } from './reference.ts';
import { locationOf } from './transport.ts';

/** Bytes to be stored at a registry under their digest. */
export interface PushBlob {
  readonly digest: Digest;
  readonly bytes: number;
  /** Opened for every try. */
  open(signal: AbortSignal): AsyncIterable<Uint8Array>;
}

const SMALL = { what: 'an answer', bytesMax: limits.tokenBytesMax };

function scopeOf({ repository }: OciReference): string {
  return `repository:${repository}:pull,push`;
}

/**
 * Stores a blob unless the repository has it. Returns whether it was sent. Faults: REGISTRY_*, DIGEST_MISMATCH when the
 * registry received other bytes than we sent.
 */
export async function pushBlob(
  client: RegistryClient,
  reference: OciReference,
  blob: PushBlob,
  signal: AbortSignal,
): Promise<boolean> {
  const { repository } = reference;
  const scope = scopeOf(reference);
  const known = await client.fetch(
    { method: 'HEAD', url: client.url(`/v2/${repository}/blobs/${blob.digest}`), scope },
    SMALL,
    signal,
  );
  if (known.status === 200) return false;
  if (known.status !== 404) throw client.refusal(known);
  const started = await client.fetch(
    {
      method: 'POST',
      url: client.url(`/v2/${repository}/blobs/uploads/`),
      headers: { 'content-length': '0' },
      scope,
    },
    SMALL,
    signal,
  );
  if (started.status !== 202) throw client.refusal(started);
  const url = locationOf(started);
  url.searchParams.set('digest', blob.digest);
  const stored = await client.fetch(
    {
      method: 'PUT',
      url,
      headers: { 'content-type': 'application/octet-stream', 'content-length': String(blob.bytes) },
      body: () => Readable.from(blob.open(signal), { objectMode: false }),
      scope,
    },
    SMALL,
    signal,
  );
  if (stored.status !== 201) throw client.refusal(stored);
  checkStored(stored.headers['docker-content-digest'], blob.digest, 'pushed blob');
  return true;
}

/** Publishes a manifest whose blobs are all stored, under the reference's tag or digest. Returns its digest. */
export async function pushManifest(
  client: RegistryClient,
  reference: OciReference,
  manifest: { readonly bytes: Uint8Array; readonly mediaType: string },
  signal: AbortSignal,
): Promise<Digest> {
  const digest = digestOf(manifest.bytes);
  if (reference.digest !== undefined && reference.digest !== digest) {
    throw fault('DIGEST_MISMATCH', { what: 'the image to push', expected: reference.digest, actual: digest });
  }
  const stored = await client.fetch(
    {
      method: 'PUT',
      url: client.url(`/v2/${reference.repository}/manifests/${manifestName(reference)}`),
      headers: { 'content-type': manifest.mediaType },
      body: () => manifest.bytes,
      scope: scopeOf(reference),
    },
    SMALL,
    signal,
  );
  if (stored.status !== 201) {
    throw client.refusal(stored, fault('MANIFEST_NOT_FOUND', { reference: formatReference(reference) }));
  }
  checkStored(stored.headers['docker-content-digest'], digest, 'pushed manifest');
  return digest;
}

function checkStored(stated: string | string[] | undefined, expected: Digest, what: string): void {
  if (typeof stated === 'string' && stated !== expected) {
    throw fault('DIGEST_MISMATCH', { what, expected, actual: stated.slice(0, 100) });
  }
}
