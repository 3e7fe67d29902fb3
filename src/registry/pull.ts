import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { readBlob } from './blob.ts';
import type { RegistryClient } from './client.ts';
import { type Digest, digestOf, isDigest } from './digest.ts';
import { checkPlatform, parseConfig } from './image-config.ts';
import { choosePlatform, type Descriptor, type ManifestDocument, parseDocument, type Refuse } from './manifest.ts';
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
 * count as a pull at rate-limited registries. Returns undefined when the registry does not say. Faults: those of
 * `openImage`.
 */
export async function findDigest({ client, reference }: PullRequest, signal: AbortSignal): Promise<Digest | undefined> {
  const answer = await ask(client, reference, { method: 'HEAD', name: manifestName(reference) }, signal);
  return reference.digest ?? statedDigest(answer);
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
  const manifest = await follow(request, top.document, signal);
  const configBytes = await fetchConfig(request, manifest.config, signal);
  const config = parseConfig(configBytes, refuse);
  checkPlatform(config, platform, name);
  if (config.diffIds.length !== manifest.layers.length) {
    throw refuse('its manifest and its config do not have the same number of layers');
  }
  return {
    reference: name,
    digest: top.digest,
    config: config.config,
    history: config.history,
    origin: { registry: reference.registry, repository },
    layers: manifest.layers.map(({ digest, size, mediaType }, index) => ({
      digest,
      // The lengths are equal, as checked above.
      diffId: config.diffIds[index] ?? digest,
      mediaType,
      bytes: size,
      open: (signal) => readBlob({ client, repository, digest, bytes: size }, signal),
    })),
  };
}

type Manifest = Extract<ManifestDocument, { kind: 'manifest' }>;

/** Follows an index to the manifest for the platform; nested indexes are allowed up to a depth. */
async function follow(request: PullRequest, top: ManifestDocument, signal: AbortSignal): Promise<Manifest> {
  const { reference, client, platform = hostPlatform() } = request;
  let document = top;
  for (let depth = 0; document.kind === 'index'; depth += 1) {
    if (depth === limits.indexDepthMax) throw fault('IMAGE_LIMIT', { what: 'nested indexes', limit: depth });
    const chosen = choosePlatform(document.manifests, platform, formatReference(reference));
    ({ document } = await fetchDocument({ ...request, client }, chosen.digest, [chosen.mediaType], signal));
  }
  return document;
}

async function fetchDocument(
  { client, reference }: PullRequest,
  name: string,
  declared: readonly string[],
  signal: AbortSignal,
): Promise<{ document: ManifestDocument; digest: Digest }> {
  const answer = await ask(client, reference, { method: 'GET', name }, signal);
  const digest = digestOf(answer.bytes);
  const expected = isDigest(name) ? name : (statedDigest(answer) ?? digest);
  if (digest !== expected) throw fault('DIGEST_MISMATCH', { what: 'manifest', expected, actual: digest });
  const contentType = (answer.headers['content-type'] ?? '').replace(/\s*;.*$/u, '');
  const types = contentType === '' ? declared : [contentType, ...declared];
  const refuse: Refuse = (reason) => fault('REGISTRY_PROTOCOL', { registry: client.registry, reason });
  return { document: parseDocument(answer.bytes, types, refuse), digest };
}

async function ask(
  client: RegistryClient,
  reference: OciReference,
  { method, name }: { readonly method: 'GET' | 'HEAD'; readonly name: string },
  signal: AbortSignal,
): Promise<RegistryResponse> {
  const { repository } = reference;
  const answer = await client.fetch(
    {
      method,
      url: client.url(`/v2/${repository}/manifests/${name}`),
      headers: { accept: ACCEPTED_MANIFESTS },
      scope: `repository:${repository}:pull`,
    },
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

function statedDigest({ headers }: Pick<RegistryResponse, 'headers'>): Digest | undefined {
  const stated = headers['docker-content-digest'];
  return typeof stated === 'string' && isDigest(stated) ? stated : undefined;
}
