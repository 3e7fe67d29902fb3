import type { ArchiveImportRequest, ImageImportRequest } from '../../contract/image.ts';
import { RegistryClient, type RegistrySettings } from '../../registry/client.ts';
import type { Digest } from '../../registry/digest.ts';
import { formatPlatform, hostPlatform, type Platform } from '../../registry/platform.ts';
import { findDigest, openImage } from '../../registry/pull.ts';
import { formatReference, parseReference } from '../../registry/reference.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { type AccountPlaces, credentialsFor } from '../accounts.ts';
import { importImage, type ImportedImage, isWhole } from './import-image.ts';
import { openArchive } from './archive/open.ts';
import { progressLines } from './progress.ts';

export interface ImporterOptions {
  readonly registries: RegistrySettings;
  readonly credentials: AccountPlaces;
  /** Wanted platform (default: that of this machine). */
  readonly platform?: Platform;
}

/** Context of an import. */
export interface ImporterContext {
  /** Store; the caller holds it until something refers to the layers. */
  readonly store: ProjectStore;
  /** One line for people. */
  readonly progress: (line: string) => void;
  /** True when a request that names a registry on a loopback or private address permits that address. */
  readonly privateByName: boolean;
}

/** Importer of images with the settings of this installation. */
export class Importer {
  readonly #options: ImporterOptions;

  constructor(options: ImporterOptions) {
    this.#options = options;
  }

  /** Imports an image from a registry. Faults: REFERENCE_INVALID, those of `openImage` and `importImage`. */
  async fromRegistry(
    { url, credentials: given }: ImageImportRequest['registry'],
    { store, progress, privateByName }: ImporterContext,
    signal: AbortSignal,
  ): Promise<ImportedImage> {
    const { registries, credentials: places, platform = hostPlatform() } = this.#options;
    const reference = parseReference(url);
    const credentials = credentialsFor(places, store.project, given);
    await using client = new RegistryClient(reference.registry, { ...registries, privateByName }, credentials);
    progress(`resolving ${formatReference(reference)} for ${formatPlatform(platform)}`);
    const digest = await findDigest({ client, reference }, signal);
    const unchanged = digest === undefined ? undefined : await recall(store, digest, platform);
    if (unchanged !== undefined) {
      progress('unchanged since the last import');
      return { ...unchanged, reference: formatReference(reference) };
    }
    const image = await openImage({ client, reference, platform }, signal);
    const imported = await importImage(store, image, progressLines(progress), signal);
    store.imports.remember(sourceOf(imported.sourceDigest, platform), imported);
    return imported;
  }

  /** Imports an image from an uploaded archive. Faults: UPLOAD_NOT_FOUND, those of `openArchive` and `importImage`. */
  async fromArchive(
    { file, name, reference }: ArchiveImportRequest,
    { store, progress }: Pick<ImporterContext, 'store' | 'progress'>,
    signal: AbortSignal,
  ): Promise<ImportedImage> {
    const { sha256, size } = store.files.get(file);
    const path = await store.files.asFile(sha256);
    const shown = name ?? file;
    progress(`reading ${shown}`);
    const { platform = hostPlatform() } = this.#options;
    const digest: Digest = `sha256:${sha256}`;
    const source = { path, bytes: size, digest, name: shown, reference, platform };
    await using image = await openArchive({ ...source, tmp: store.tmp }, signal);
    return await importImage(store, image, progressLines(progress), signal);
  }
}

/**
 * Returns the earlier import of a source, so that an unchanged source needs a single request. Returns undefined unless
 * the store still has all of its layers, merged or not.
 */
async function recall(
  store: ProjectStore,
  digest: Digest,
  platform: Platform,
): Promise<Omit<ImportedImage, 'reference'> | undefined> {
  const known = store.imports.find(sourceOf(digest, platform));
  if (known === undefined) return undefined;
  const image = store.images.findRoot(known.layers, known.config);
  return (await isWhole(store.layers, image?.layers ?? known.layers)) ? { ...known, sourceDigest: digest } : undefined;
}

/** Returns the key of a source: the digest of an index means another image on another platform. */
function sourceOf(digest: Digest, platform: Platform): string {
  return `${digest} ${formatPlatform(platform)}`;
}
