import { buildLayer, type BuildOptions, type BuiltLayer } from '../../layers/build-layer.ts';
import { unpackBound } from '../../tar/compression.ts';
import { Tree } from '../../layers/tree.ts';
import { fault, isFault } from '../../contract/errors.ts';
import type { ImageConfig, ImportProgress } from '../../contract/image.ts';
import { ReaderPool } from '../../erofs/reader-pool.ts';
import { chainId, type Digest } from '../../registry/digest.ts';
import type { OciImage, OciLayer } from '../../registry/oci-image.ts';
import type { BlobStore } from '../../store/blobs.ts';
import type { LayerStore } from '../../store/layers.ts';
import { LayerFeed } from './feed.ts';

/** Part of the store that an import needs. */
export interface ImportTarget {
  readonly layers: Pick<LayerStore, 'findByChain' | 'find' | 'files' | 'stage' | 'publish'>;
  readonly blobs: Pick<BlobStore, 'remember'>;
  /** Folder for temporary files, on the store's file system. */
  readonly tmp: string;
}

/** OCI image whose layers are all in the store. */
export interface ImportedImage {
  /** Digests (hex) of published layers, bottom first. */
  readonly layers: readonly string[];
  readonly config: ImageConfig;
  /** Normalized reference, or the name inside an archive. */
  readonly reference: string;
  /** Digest that the reference pointed to. */
  readonly sourceDigest: Digest;
}

/**
 * Imports the layers of an OCI image into the store. A layer that the store already has on top of the same layers is
 * not read again; the others are fetched ahead but built from the bottom up, because paths are resolved in the layers
 * below. The caller holds the store until something refers to the layers. No temporary file is left after a fault or
 * abort; layers that were complete stay for the next attempt, until gc. Faults: those of the source, DIGEST_MISMATCH,
 * LAYER_MALFORMED, LAYER_LIMIT, DISK_FULL.
 */
export async function importImage(
  target: ImportTarget,
  image: OciImage,
  onProgress: (progress: ImportProgress) => void,
  signal: AbortSignal,
): Promise<ImportedImage> {
  if (image.layers.length === 0) throw fault('LAYER_MALFORMED', { reason: 'the image has no layers' });
  const { origin } = image;
  const found = await findKnown(target.layers, image.layers);
  const missing = image.layers.slice(found.layers.length);
  let progress: ImportProgress = {
    layers_done: found.layers.length,
    layers_total: image.layers.length,
    done_bytes: 0,
    total_bytes: missing.reduce((sum, { bytes }) => sum + bytes, 0),
  };
  const report = (change: Partial<ImportProgress>): void => onProgress((progress = { ...progress, ...change }));
  const onBytes = (bytes: number): void => report({ done_bytes: progress.done_bytes + bytes });
  report({});

  await using pool = new ReaderPool();
  await using feed = new LayerFeed({ layers: missing, tmp: target.tmp, ahead: origin !== undefined, onBytes }, signal);
  let done: Chain = found;
  for (const [index, layer] of missing.entries()) {
    done = await addLayer({ target, pool, below: done, layer, origin, bytes: feed.open(index) }, signal);
    report({ layers_done: done.layers.length });
  }
  return { layers: done.layers, config: image.config, reference: image.reference, sourceDigest: image.digest };
}

/** Layers of the store, bottom first, and the chainID of the topmost. */
interface Chain {
  readonly layers: readonly string[];
  readonly id: Digest | undefined;
}

/**
 * Returns the longest chain of layers from the bottom that the store has undamaged; a damaged layer is imported again.
 */
async function findKnown(store: ImportTarget['layers'], layers: readonly OciLayer[]): Promise<Chain> {
  let chain: Chain = { layers: [], id: undefined };
  for (const { diffId } of layers) {
    const id = diffId === undefined ? undefined : chainId(chain.id, diffId);
    const known = id === undefined ? undefined : store.findByChain(id);
    if (known === undefined || !(await isWhole(store, [known.digest]))) break;
    chain = { layers: [...chain.layers, known.digest], id };
  }
  return chain;
}

/** Reports whether the store has all these layers undamaged. */
export async function isWhole(store: ImportTarget['layers'], digests: readonly string[]): Promise<boolean> {
  if (digests.some((digest) => store.find(digest) === undefined)) return false;
  try {
    await store.files(digests);
    return true;
  } catch (error) {
    if (isFault(error, 'STORE_CORRUPT')) return false;
    throw error;
  }
}

interface Addition {
  readonly target: ImportTarget;
  readonly pool: ReaderPool;
  readonly below: Chain;
  readonly layer: OciLayer;
  readonly origin: OciImage['origin'];
  readonly bytes: AsyncIterable<Uint8Array>;
}

/** Builds and publishes one layer on top of a chain. */
async function addLayer(addition: Addition, signal: AbortSignal): Promise<Chain> {
  const { target, pool, below, layer, origin, bytes } = addition;
  const { layers: store, blobs } = target;
  await using lower = below.layers.length === 0 ? null : await Tree.open(await store.files(below.layers), pool);
  await using staged = store.stage();
  const unpacked = unpackBound(layer.bytes);
  const built = await buildToEnd(bytes, staged.path, { lower: lower ?? undefined, unpacked, signal });
  const diffId = built.tarDigest as Digest;
  if (layer.diffId !== undefined && layer.diffId !== diffId) {
    const what = `layer ${below.layers.length + 1}, uncompressed,`;
    throw fault('DIGEST_MISMATCH', { what, expected: layer.diffId, actual: diffId });
  }
  const id = chainId(below.id, diffId);
  const known = store.findByChain(id);
  const { digest } = known ?? (await store.publish(staged, { ...built, source: `oci:${id}` }));
  if (origin !== undefined) {
    const { digest: blob, mediaType, bytes: size } = layer;
    blobs.remember({ below: below.id, layer: digest }, { digest: blob, diffId, mediaType, bytes: size, ...origin });
  }
  return { layers: [...below.layers, digest], id };
}

/** Builds a layer and reads its source to the end, where the digest is verified. */
async function buildToEnd(bytes: AsyncIterable<Uint8Array>, path: string, options: BuildOptions): Promise<BuiltLayer> {
  const iterator = bytes[Symbol.asyncIterator]();
  try {
    // Without `return`, so that a builder that stops early does not close it.
    const built = await buildLayer({ [Symbol.asyncIterator]: () => ({ next: () => iterator.next() }) }, path, options);
    while ((await iterator.next()).done !== true);
    return built;
  } finally {
    await iterator.return?.();
  }
}
