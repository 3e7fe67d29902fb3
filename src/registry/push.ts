import { Readable } from 'node:stream';
import { fault, isFault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { RegistryClient } from './client.ts';
import { type Digest, digestOf } from './digest.ts';
import { formatReference, manifestName, type OciReference } from './reference.ts';
import type { RegistryResponse } from './response.ts';
import { locationOf } from './transport.ts';

/** Bytes to store at a registry under their digest. */
export interface PushBlob {
  readonly digest: Digest;
  readonly bytes: number;
  /** Opens the bytes; called for every attempt. */
  open(signal: AbortSignal): AsyncIterable<Uint8Array>;
}

const SMALL = { what: 'a response', bytesMax: limits.tokenBytesMax };

function scopeOf({ repository }: OciReference): string {
  return `repository:${repository}:pull,push`;
}

/** Reports whether the repository has a blob. Faults: REGISTRY_*. */
export async function hasBlob(
  client: RegistryClient,
  reference: OciReference,
  digest: Digest,
  signal: AbortSignal,
): Promise<boolean> {
  const url = client.url(`/v2/${reference.repository}/blobs/${digest}`);
  const answer = await client.fetch({ method: 'HEAD', url, scope: scopeOf(reference) }, SMALL, signal);
  if (answer.status !== 200 && answer.status !== 404) throw client.refusal(answer);
  return answer.status === 200;
}

/**
 * Mounts a blob from another repository of the registry (distribution-spec, "mounting a blob"). Returns false where the
 * registry does not support or permit that. Faults: REGISTRY_*.
 */
export async function mountBlob(
  client: RegistryClient,
  reference: OciReference,
  { digest, from }: { readonly digest: Digest; readonly from: string },
  signal: AbortSignal,
): Promise<boolean> {
  const url = client.url(`/v2/${reference.repository}/blobs/uploads/`);
  url.search = new URLSearchParams({ mount: digest, from }).toString();
  const scope = `repository:${from}:pull ${scopeOf(reference)}`;
  const headers = { 'content-length': '0' };
  try {
    const answer = await client.fetch({ method: 'POST', url, headers, scope }, SMALL, signal);
    if (answer.status === 202) await cancelUpload(client, reference, answer, signal);
    return answer.status === 201;
  } catch (error) {
    // A token service may refuse access to that repository.
    if (isFault(error, 'REGISTRY_DENIED')) return false;
    throw error;
  }
}

/** Cancels an upload that was started instead of a mount. A registry without cancellation expires it eventually. */
async function cancelUpload(
  client: RegistryClient,
  reference: OciReference,
  started: RegistryResponse,
  signal: AbortSignal,
) {
  try {
    const url = locationOf(started);
    await client.fetch({ method: 'DELETE', url, scope: scopeOf(reference) }, SMALL, signal);
  } catch (error) {
    if (!isFault(error)) throw error;
  }
}

/**
 * Stores a blob unless the repository has it. Returns true when it was sent. Faults: REGISTRY_*; DIGEST_MISMATCH when
 * the registry received other bytes than we sent.
 */
export async function pushBlob(
  client: RegistryClient,
  reference: OciReference,
  blob: PushBlob,
  signal: AbortSignal,
): Promise<boolean> {
  if (await hasBlob(client, reference, blob.digest, signal)) return false;
  const { repository } = reference;
  const scope = scopeOf(reference);
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
