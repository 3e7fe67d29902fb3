import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { isDigest, type Digest } from './digest.ts';
import { documentKind, isImageConfig, isLayer, OCI_INDEX, OCI_MANIFEST } from './media-types.ts';
import { compareVariants, formatPlatform, isSamePlatform, normalPlatform, type Platform } from './platform.ts';
import { parsedJson } from '../std/json.ts';

/** Type, digest and size of a blob (image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly platform?: Platform | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export type ManifestDocument =
  | { readonly kind: 'index'; readonly manifests: readonly Descriptor[] }
  | { readonly kind: 'manifest'; readonly config: Descriptor; readonly layers: readonly Descriptor[] };

/** Returns the fault for malformed bytes, in terms of their source. */
export type Refuse = (reason: string) => Error;

const PlatformShape = z.object({ os: z.string(), architecture: z.string(), variant: z.string().nullish() });

const DescriptorShape = z.object({
  mediaType: z.string(),
  digest: z.string(),
  size: z.int().min(0),
  urls: z.array(z.string()).nullish(),
  platform: PlatformShape.nullish(),
  annotations: z.record(z.string(), z.string()).nullish(),
});

const DocumentShape = z.object({
  schemaVersion: z.int(),
  mediaType: z.string().optional(),
  manifests: z.array(z.unknown()).nullish(),
  config: z.unknown().optional(),
  layers: z.array(z.unknown()).nullish(),
  fsLayers: z.unknown().optional(),
});

/**
 * Parses an index or a manifest. `declared` lists the media types given for the document by the transport and the
 * descriptor. All of them, the document's own, and its members must agree on its kind; otherwise two programs could see
 * two different images in the same bytes (CVE-2021-41190). Faults: those of `refuse`, MEDIA_TYPE_UNSUPPORTED,
 * IMAGE_LIMIT.
 */
export function parseDocument(
  bytes: Uint8Array,
  declared: readonly (string | undefined)[],
  refuse: Refuse,
): ManifestDocument {
  const json = DocumentShape.safeParse(parseJson(bytes, refuse)).data;
  if (json === undefined) throw refuse('its manifest is not understood');
  const isIndex = json.manifests !== undefined && json.manifests !== null;
  const isManifest = json.config !== undefined || (json.layers !== undefined && json.layers !== null);
  const own = json.mediaType === undefined ? [] : [json.mediaType.toLowerCase()];
  const types = [...own, ...declared.flatMap((type) => (type === undefined ? [] : tellingType(type)))];
  // `mediaType` is optional (OCI image-spec): the members tell, unless they tell both, which is refused below.
  const [mediaType = isIndex ? OCI_INDEX : OCI_MANIFEST] = types;
  if (json.schemaVersion === 1 || types.some((type) => documentKind(type) === 'schema1')) {
    throw fault('MEDIA_TYPE_UNSUPPORTED', { mediaType: 'application/vnd.docker.distribution.manifest.v1+json' });
  }
  if (types.some((type) => type !== mediaType)) {
    throw refuse(`its manifest is declared as ${[...new Set(types)].join(' and as ')}`);
  }
  const kind = documentKind(mediaType);
  if (kind === undefined) throw fault('MEDIA_TYPE_UNSUPPORTED', { mediaType: shownType(mediaType) });
  if (isIndex === isManifest || isIndex !== (kind === 'index') || json.fsLayers !== undefined) {
    throw refuse(`its manifest does not have the members of ${mediaType}`);
  }
  return kind === 'index' ? parseIndex(json.manifests ?? [], refuse) : parseManifest(json, refuse);
}

/**
 * Returns a media type in lower case if it tells anything: registries and proxies send generic types such as
 * `application/json` and `binary/octet-stream` with everything, and all types of manifests are of vendors.
 */
function tellingType(mediaType: string): string[] {
  const type = mediaType.toLowerCase();
  return type.startsWith('application/vnd.') ? [type] : [];
}

function parseIndex(entries: readonly unknown[], refuse: Refuse): ManifestDocument {
  if (entries.length > limits.manifestsPerIndexMax) {
    throw fault('IMAGE_LIMIT', { what: 'manifests in an index', limit: limits.manifestsPerIndexMax });
  }
  // An index may hold entries for other tools; only those that could be images must be well formed.
  const manifests = entries.filter((entry) => mayBeImage(entry));
  return { kind: 'index', manifests: manifests.map((entry) => parseDescriptor(entry, refuse)) };
}

function parseManifest(json: z.infer<typeof DocumentShape>, refuse: Refuse): ManifestDocument {
  const entries = json.layers ?? [];
  if (entries.length > limits.layersPerImageMax) {
    throw fault('IMAGE_LIMIT', { what: 'layers', limit: limits.layersPerImageMax });
  }
  const config = parseDescriptor(json.config, refuse);
  if (!isImageConfig(config.mediaType)) {
    throw fault('MEDIA_TYPE_UNSUPPORTED', { mediaType: shownType(config.mediaType) });
  }
  const layers = entries.map((entry) => parseDescriptor(entry, refuse));
  const odd = layers.find(({ mediaType }) => !isLayer(mediaType));
  if (odd !== undefined) throw fault('MEDIA_TYPE_UNSUPPORTED', { mediaType: shownType(odd.mediaType) });
  if (layers.some(({ size }) => size > limits.layerFileBytesMax)) {
    throw fault('IMAGE_LIMIT', { what: 'bytes in one layer', limit: limits.layerFileBytesMax });
  }
  return { kind: 'manifest', config, layers };
}

function parseDescriptor(json: unknown, refuse: Refuse): Descriptor {
  const parsed = DescriptorShape.safeParse(json).data;
  if (parsed === undefined) throw refuse('a descriptor in its manifest is not understood');
  const { mediaType, digest, size, urls, platform, annotations } = parsed;
  if (urls !== undefined && urls !== null && urls.length > 0) {
    throw fault('MEDIA_TYPE_UNSUPPORTED', { mediaType: `${shownType(mediaType)} with foreign urls` });
  }
  if (!isDigest(digest)) throw refuse('its manifest names a blob by something other than a sha256 digest');
  return {
    mediaType,
    digest,
    size,
    ...(platform ? { platform: normalPlatform({ ...platform, variant: platform.variant ?? undefined }) } : {}),
    ...(annotations ? { annotations } : {}),
  };
}

/**
 * Returns the entries of an index that may be the image for a platform, to be tried in this order: the best one that states
 * it, otherwise those that state none. Faults: PLATFORM_UNSUPPORTED, which lists the available ones.
 */
export function platformCandidates(
  manifests: readonly Descriptor[],
  wanted: Platform,
  reference: string,
): readonly Descriptor[] {
  const compare = compareVariants(wanted);
  const [best] = manifests
    .flatMap((descriptor) => (descriptor.platform === undefined ? [] : [{ descriptor, platform: descriptor.platform }]))
    .filter(({ platform }) => isSamePlatform(platform, wanted))
    .toSorted((one, other) => compare(one.platform, other.platform));
  if (best !== undefined) return [best.descriptor];
  // An entry without a platform is judged by its config.
  const silent = manifests.filter(({ platform }) => platform === undefined).slice(0, SILENT_ENTRIES_MAX);
  if (silent.length > 0) return silent;
  const offered = manifests
    .flatMap(({ platform }) => (platform === undefined || platform.os === 'unknown' ? [] : [formatPlatform(platform)]))
    .slice(0, 20);
  throw unsupportedPlatform(reference, wanted, [...new Set(offered)].join(', '));
}

export function unsupportedPlatform(reference: string, wanted: Platform, offered: string): Error {
  const printable = offered.replaceAll(/[^\u0020-\u007e]/gu, '?');
  return fault('PLATFORM_UNSUPPORTED', {
    reference,
    wanted: formatPlatform(wanted),
    offered: printable === '' ? 'no platform at all' : printable,
  });
}

/** Parses JSON that must be an object. */
export function parseJson(bytes: Uint8Array, refuse: Refuse): unknown {
  const value = parsedJson(bytes);
  if (value === undefined) throw refuse('its manifest or config is not JSON');
  return value;
}

/** Entries without a platform that are tried: each takes requests. */
const SILENT_ENTRIES_MAX = 8;

const EntryShape = z.object({
  mediaType: z.string(),
  artifactType: z.string().nullish().catch(undefined),
  annotations: z.record(z.string(), z.unknown()).nullish().catch(undefined),
});

/** Reports whether an entry of an index may be an image: not an artifact, a signature or an attestation of BuildKit. */
function mayBeImage(json: unknown): boolean {
  const entry = EntryShape.safeParse(json).data;
  if (entry === undefined || documentKind(entry.mediaType) === undefined) return false;
  const { artifactType, annotations } = entry;
  const isArtifact = artifactType !== undefined && artifactType !== null && artifactType !== '';
  if (isArtifact && !isImageConfig(artifactType)) return false;
  return annotations?.['vnd.docker.reference.type'] === undefined;
}

function shownType(mediaType: string): string {
  return mediaType.slice(0, 100).replaceAll(/[^\u0020-\u007e]/gu, '?');
}
