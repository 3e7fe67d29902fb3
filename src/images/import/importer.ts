import type { ArchiveImportRequest, ImageImportRequest, ImportProgress } from '../../contract/image.ts';
import { RegistryClient, type RegistrySettings } from '../../registry/client.ts';
import type { Digest } from '../../registry/digest.ts';
import type { OciImage } from '../../registry/oci-image.ts';
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
  /** Takes one line for people, and the figures in it. */
  readonly progress: (line: string, figures?: ImportProgress) => void;
  /** True when a request that names a registry on a loopback or private address permits that address. */
  readonly privateByName: boolean;
}

/** Importer of images; the engine makes an operation of each import. */
export interface Importer {
  /** Imports an image from a registry. Faults: REFERENCE_INVALID, those of `openImage` and `importImage`. */
  fromRegistry(
    registry: ImageImportRequest['registry'],
    context: ImporterContext,
    signal: AbortSignal,
  ): Promise<Imported>;
  /**
   * Imports an image from an archive; `request.file` is an existing upload. Faults: UPLOAD_NOT_FOUND, those of
   * `openArchive` and `importImage`.
   */
  fromArchive(
    request: ArchiveImportRequest,
    context: Pick<ImporterContext, 'store' | 'progress'>,
    signal: AbortSignal,
  ): Promise<Imported>;
}

/** Result of an import: layers that are published, and the configuration of the image. */
export type Imported = Pick<ImportedImage, 'layers' | 'config'>;

/** Returns the importer with the settings of this installation. */
export function imageImporter(options: ImporterOptions): {
  readonly [Method in keyof Importer]: (...args: Parameters<Importer[Method]>) => Promise<ImportedImage>;
} {
  return {
    fromRegistry: async (registry, context, signal) => fromRegistry(options, { registry, context }, signal),
    fromArchive: async (request, context, signal) => fromArchive(options, { request, context }, signal),
  };
}

async function fromRegistry(
  options: ImporterOptions,
  {
    registry: { url, credentials: given },
    context,
  }: { registry: ImageImportRequest['registry']; context: ImporterContext },
  signal: AbortSignal,
): Promise<ImportedImage> {
  const { store, progress, privateByName } = context;
  const { registries, credentials: places, platform = hostPlatform() } = options;
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
  reportLeftOut(image, progress);
  const imported = await importImage(store, image, progressLines(progress), signal);
  store.imports.remember(sourceOf(imported.sourceDigest, platform), imported);
  return imported;
}

async function fromArchive(
  options: ImporterOptions,
  { request, context }: { request: ArchiveImportRequest; context: Pick<ImporterContext, 'store' | 'progress'> },
  signal: AbortSignal,
): Promise<ImportedImage> {
  const { file, name, reference } = request;
  const { store, progress } = context;
  const { sha256, size } = store.files.get(file);
  const path = await store.files.asFile(sha256);
  const shown = name ?? file;
  progress(`reading ${shown}`);
  const { platform = hostPlatform() } = options;
  const digest: Digest = `sha256:${sha256}`;
  const source = { path, bytes: size, digest, name: shown, reference, platform };
  await using image = await openArchive({ ...source, tmp: store.tmp }, signal);
  reportLeftOut(image, progress);
  return await importImage(store, image, progressLines(progress), signal);
}

function reportLeftOut({ leftOut }: OciImage, progress: (line: string) => void): void {
  if (leftOut.length > 0)
    progress(`left out of the image's configuration, which cannot be used: ${leftOut.join(', ')}`);
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
