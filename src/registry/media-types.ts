/** Media types of OCI image-spec 1.1 (media-types.md) and of Docker's image manifest version 2, schema 2. */
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
export const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar';
export const OCI_LAYER_GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip';
const OCI_LAYER_ZSTD = 'application/vnd.oci.image.layer.v1.tar+zstd';

const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json';

const INDEXES: ReadonlySet<string> = new Set([OCI_INDEX, DOCKER_LIST]);
const MANIFESTS: ReadonlySet<string> = new Set([OCI_MANIFEST, DOCKER_MANIFEST]);
const CONFIGS: ReadonlySet<string> = new Set([OCI_CONFIG, DOCKER_CONFIG]);
/** Docker's names for layers, and OCI's for the same bytes. */
const DOCKER_LAYERS: ReadonlyMap<string, string> = new Map([
  ['application/vnd.docker.image.rootfs.diff.tar', OCI_LAYER],
  ['application/vnd.docker.image.rootfs.diff.tar.gzip', OCI_LAYER_GZIP],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', OCI_LAYER_ZSTD],
]);
const LAYERS: ReadonlySet<string> = new Set([OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, ...DOCKER_LAYERS.keys()]);
/** Docker's first manifest format; it names no config and no uncompressed digests. */
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/u;

/** Value of the `Accept` header for manifests. */
export const ACCEPTED_MANIFESTS = [...MANIFESTS, ...INDEXES].join(', ');

export type DocumentKind = 'index' | 'manifest';

/** Returns the kind of document of a media type, or undefined when it is not a manifest. */
export function documentKind(mediaType: string): DocumentKind | 'schema1' | undefined {
  if (INDEXES.has(mediaType)) return 'index';
  if (MANIFESTS.has(mediaType)) return 'manifest';
  return SCHEMA_1.test(mediaType) ? 'schema1' : undefined;
}

export function isImageConfig(mediaType: string): boolean {
  return CONFIGS.has(mediaType);
}

/** Returns the OCI media type for a layer of this type. */
export function ociLayerType(mediaType: string): string {
  return DOCKER_LAYERS.get(mediaType) ?? mediaType;
}

/**
 * Reports whether a media type is a layer we read. Foreign ("non-distributable") layers are excluded: their bytes would
 * have to be fetched from URLs of their choice.
 */
export function isLayer(mediaType: string): boolean {
  return LAYERS.has(mediaType);
}
