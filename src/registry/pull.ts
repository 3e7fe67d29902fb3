import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { readBlob } from './blob.ts';
import type { ApiRequest, RegistryClient } from './client.ts';
import { type Digest, digestOf, isDigest } from './digest.ts';
import { findImage } from './find-image.ts';
import { type Descriptor, type ManifestDocument, parseDocument, type Refuse } from './manifest.ts';
import { ACCEPTED_MANIFESTS } from './media-types.ts';
import type { OciImage } from './oci-image.ts';
import { hostPlatform, type Platform } from './platform.ts';
import { formatReference, manifestName, type OciReference } from './reference.ts';
import type { RegistryResponse } from './response.ts';

export interface PullRequest {
  readonly client: RegistryClient;
  readonly reference: OciReference;
  /** Wanted platform (default: that of this machine). */
  readonly platform?: Platform;
}

/**
 * Returns the digest a reference points to now, after checking access, without fetching the manifest: this does not
 * count as a pull at rate-limited registries. Returns undefined when the registry does not say, or refuses: some answer
 * HEAD with an error, so only GET decides. Faults: those of the address guard and of the token service.
 */
export async function findDigest({ client, reference }: PullRequest, signal: AbortSignal): Promise<Digest | undefined> {
  const answer = await client.tryHead(manifestRequest(client, reference, manifestName(reference)), signal);
  return answer?.status === 200 ? (reference.digest ?? statedDigest(answer)) : undefined;
}

/**
 * Reads the manifest and config of an image; its layers are fetched when they are opened. A tag may move meanwhile, so
 * everything after the first response is addressed by digest. Faults: MANIFEST_NOT_FOUND, REGISTRY_*, DIGEST_MISMATCH,
 * MEDIA_TYPE_UNSUPPORTED, PLATFORM_UNSUPPORTED, IMAGE_LIMIT.
 */
export async function openImage(request: PullRequest, signal: AbortSignal): Promise<OciImage> {
  const { client, reference, platform = hostPlatform() } = request;
  const { repository } = reference;
  const name = formatReference(reference);
  const refuse: Refuse = (reason) => fault('REGISTRY_PROTOCOL', { registry: client.registry, reason });
  const top = await fetchDocument(request, manifestName(reference), [], signal);
  const { layers, config } = await findImage(top.document, {
    platform,
    name,
    refuse,
    document: async ({ digest, mediaType }) => (await fetchDocument(request, digest, [mediaType], signal)).document,
    config: (descriptor) => fetchConfig(request, descriptor, signal),
  });
  return {
    reference: name,
    digest: top.digest,
    config: config.config,
    history: config.history,
    leftOut: config.leftOut,
    origin: { registry: reference.registry, repository },
    layers: layers.map(({ digest, size, mediaType }, index) => ({
      digest,
      // There are as many of them.
      diffId: config.diffIds[index] ?? digest,
      mediaType,
      bytes: size,
      open: (signal) => readBlob({ client, repository, digest, bytes: size }, signal),
    })),
  };
}

async function fetchDocument(
  { client, reference }: PullRequest,
  name: string,
  declared: readonly string[],
  signal: AbortSignal,
): Promise<{ document: ManifestDocument; digest: Digest }> {
  const answer = await ask(client, reference, name, signal);
  const digest = digestOf(answer.bytes);
  const expected = isDigest(name) ? name : (statedDigest(answer) ?? digest);
  if (digest !== expected) throw fault('DIGEST_MISMATCH', { what: 'manifest', expected, actual: digest });
  const types = [...contentTypes(answer), ...declared];
  const refuse: Refuse = (reason) => fault('REGISTRY_PROTOCOL', { registry: client.registry, reason });
  return { document: parseDocument(answer.bytes, types, refuse), digest };
}

function manifestRequest(
  client: RegistryClient,
  { repository }: OciReference,
  name: string,
): Omit<ApiRequest, 'method'> {
  return {
    url: client.url(`/v2/${repository}/manifests/${name}`),
    headers: { accept: ACCEPTED_MANIFESTS },
    scope: `repository:${repository}:pull`,
  };
}

async function ask(
  client: RegistryClient,
  reference: OciReference,
  name: string,
  signal: AbortSignal,
): Promise<RegistryResponse> {
  const answer = await client.fetch(
    { method: 'GET', ...manifestRequest(client, reference, name) },
    { what: 'a manifest', bytesMax: limits.manifestBytesMax },
    signal,
  );
  if (answer.status === 200) return answer;
  throw client.refusal(answer, fault('MANIFEST_NOT_FOUND', { reference: formatReference(reference) }));
}

async function fetchConfig(
  { client, reference: { repository } }: PullRequest,
  { digest, size }: Descriptor,
  signal: AbortSignal,
): Promise<Buffer> {
  if (size > limits.configBytesMax) {
    throw fault('IMAGE_LIMIT', { what: 'bytes of an image config', limit: limits.configBytesMax });
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of readBlob({ client, repository, digest, bytes: size }, signal)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Media types of the `Content-Type` header, of which a response may wrongly have several. */
function contentTypes({ headers }: Pick<RegistryResponse, 'headers'>): string[] {
  const stated: string | readonly string[] = headers['content-type'] ?? [];
  const lines = typeof stated === 'string' ? [stated] : stated;
  return lines.map((line) => line.replace(/\s*;.*$/u, '').trim());
}

function statedDigest({ headers }: Pick<RegistryResponse, 'headers'>): Digest | undefined {
  const stated = headers['docker-content-digest'];
  return typeof stated === 'string' && isDigest(stated) ? stated : undefined;
}
