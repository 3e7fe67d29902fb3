import { fault, isFault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { checkPlatform, type OciConfig, parseConfig } from './image-config.ts';
import { type Descriptor, type ManifestDocument, type Refuse, platformCandidates } from './manifest.ts';
import type { Platform } from './platform.ts';

export interface ImageSearch {
  readonly platform: Platform;
  /** Name of the image for messages. */
  readonly name: string;
  readonly refuse: Refuse;
  /** Reads and verifies an index or a manifest. */
  readonly document: (descriptor: Descriptor) => Promise<ManifestDocument>;
  /** Reads and verifies a config blob. */
  readonly config: (descriptor: Descriptor) => Promise<Uint8Array>;
}

export interface FoundImage {
  /** Layers, bottom first; as many as `config.diffIds`. */
  readonly layers: readonly Descriptor[];
  readonly config: OciConfig;
}

/**
 * Returns the image for a platform in an index, in nested ones down to a depth, or in a manifest. Entries that do not state
 * their platform are tried one after the other, because some of them are artifacts. Faults: those of `search`,
 * PLATFORM_UNSUPPORTED, MEDIA_TYPE_UNSUPPORTED, IMAGE_LIMIT.
 */
export async function findImage(document: ManifestDocument, search: ImageSearch, depth = 0): Promise<FoundImage> {
  if (document.kind === 'manifest') return readImage(document, search);
  if (depth === limits.indexDepthMax) throw fault('IMAGE_LIMIT', { what: 'nested indexes', limit: depth });
  let failure: unknown;
  for (const candidate of platformCandidates(document.manifests, search.platform, search.name)) {
    try {
      return await findImage(await search.document(candidate), search, depth + 1);
    } catch (error) {
      if (!isFault(error, 'MEDIA_TYPE_UNSUPPORTED', 'PLATFORM_UNSUPPORTED')) throw error;
      failure ??= error;
    }
  }
  throw failure;
}

async function readImage(
  manifest: Extract<ManifestDocument, { kind: 'manifest' }>,
  { platform, name, refuse, config: read }: ImageSearch,
): Promise<FoundImage> {
  const config = parseConfig(await read(manifest.config), refuse);
  checkPlatform(config, platform, name);
  if (config.diffIds.length !== manifest.layers.length) {
    throw refuse('its manifest and its config do not have the same number of layers');
  }
  return { layers: manifest.layers, config };
}
