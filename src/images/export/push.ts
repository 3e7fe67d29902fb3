import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import type { ImagePushRequest, PushProgress } from '../../contract/image.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import { RegistryClient, type RegistrySettings } from '../../registry/client.ts';
import type { CredentialSource } from '../../registry/auth/credentials.ts';
import { chainId, type Digest, fromHex } from '../../registry/digest.ts';
import { OCI_LAYER_GZIP, OCI_MANIFEST, ociLayerType } from '../../registry/media-types.ts';
import { hasBlob, mountBlob, pushBlob, pushManifest } from '../../registry/push.ts';
import { formatReference, type OciReference, parseReference } from '../../registry/reference.ts';
import type { BlobStore } from '../../store/blobs.ts';
import type { PublishedFile } from '../../store/layers.ts';
import { packed, type ExportRequest } from './oci-layout.ts';
import { type MemoryBlob, encodeConfig, encodeManifest, type ExportedLayer } from './config.ts';
import { Spool } from '../import/spool.ts';
import { observed, StreamDigest } from '../../std/streams.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { type AccountPlaces, credentialsFor } from '../accounts.ts';

/** Compression level: twice as fast as zlib's default for a few per cent more bytes. */
const GZIP_LEVEL = 4;

export interface PushOptions {
  readonly registries: RegistrySettings;
  readonly credentials: CredentialSource;
  /** Folder for one compressed layer at a time. */
  readonly tmp: string;
  /** Known blobs of layers at registries. */
  readonly blobs: BlobStore;
  readonly onProgress: (progress: PushProgress) => void;
}

export interface Pushed {
  /** Normalized reference. */
  readonly reference: string;
  readonly digest: Digest;
}

/** Context of a push. */
export interface PushContext {
  readonly store: Pick<ProjectStore, 'project' | 'tmp' | 'blobs'>;
  readonly onProgress: (progress: PushProgress) => void;
  /** True when a request that names a registry on a loopback or private address permits that address. */
  readonly privateByName: boolean;
}

/** Pushes an image to the place a request names. Faults: those of `pushImage`. */
export type Pusher = (
  image: ExportRequest,
  request: ImagePushRequest,
  context: PushContext,
  signal: AbortSignal,
) => Promise<{ readonly reference: string; readonly digest: string }>;

/** Returns the pusher with the settings of this installation. */
export function imagePusher({ registries, credentials: places }: PusherOptions): Pusher {
  return (image, { registry: { url, credentials: given } }, { store, onProgress, privateByName }, signal) => {
    const credentials = credentialsFor(places, store.project, given);
    const { tmp, blobs } = store;
    const options = { registries: { ...registries, privateByName }, credentials, tmp, blobs, onProgress };
    return pushImage(image, url, options, signal);
  };
}

/** Settings of an installation that pushes use. */
export interface PusherOptions {
  readonly registries: RegistrySettings;
  readonly credentials: AccountPlaces;
}

/**
 * Pushes an image to a registry, layers bottom first. A layer whose blob the registry has, from an import or an earlier
 * push, is neither packed nor sent; the others are sent gzipped. The manifest is sent last, so an interrupted push
 * changes nothing that can be pulled. Faults: REFERENCE_INVALID, REGISTRY_*, DIGEST_MISMATCH, ARGUMENT_INVALID,
 * DISK_FULL.
 */
export async function pushImage(
  request: ExportRequest,
  target: string,
  options: PushOptions,
  signal: AbortSignal,
): Promise<Pushed> {
  const reference = parseReference(target);
  await using client = new RegistryClient(reference.registry, options.registries, options.credentials);
  const meter = new Meter(request.layers, options.onProgress);
  const layers: ExportedLayer[] = [];
  let below: Digest | undefined;
  for (const file of request.layers) {
    const push: LayerPush = { client, reference, file, below, options, meter };
    const layer = (await findLayer(push, signal)) ?? (await pushLayer(push, signal));
    layers.push(layer);
    below = chainId(below, layer.diffId);
    meter.layerDone();
  }
  const config = encodeConfig(request, layers);
  await pushBlob(client, reference, blobOf(config), signal);
  const { bytes } = encodeManifest(config, layers);
  const digest = await pushManifest(client, reference, { bytes, mediaType: OCI_MANIFEST }, signal);
  return { reference: formatReference(reference), digest };
}

/** Counter of packed and sent bytes. */
class Meter {
  readonly #files: readonly LayerFile[];
  readonly #tell: (progress: PushProgress) => void;
  readonly #totalBytes: number;
  #layersDone = 0;
  #packedBytes = 0;
  #sentBytes = 0;
  /** Bytes sent of earlier layers, and of the latest attempt of this one. */
  #layerSentBytes = 0;

  constructor(files: readonly LayerFile[], tell: (progress: PushProgress) => void) {
    this.#files = files;
    this.#tell = tell;
    this.#totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#report();
  }

  packed(bytes: number): void {
    this.#packedBytes += bytes;
    this.#report();
  }

  /** Records that an upload begins, possibly again. */
  layerOpened(): void {
    this.#layerSentBytes = 0;
  }

  sent(bytes: number): void {
    this.#layerSentBytes += bytes;
    this.#report();
  }

  layerDone(): void {
    this.#layersDone += 1;
    this.#sentBytes += this.#layerSentBytes;
    this.#layerSentBytes = 0;
    // The tar of a layer is not exactly as long as its file.
    this.#packedBytes = this.#files.slice(0, this.#layersDone).reduce((sum, { bytes }) => sum + bytes, 0);
    this.#report();
  }

  #report(): void {
    this.#tell({
      type: 'progress',
      layers_done: this.#layersDone,
      layers_total: this.#files.length,
      packed_bytes: Math.min(this.#packedBytes, this.#totalBytes),
      total_bytes: this.#totalBytes,
      sent_bytes: this.#sentBytes + this.#layerSentBytes,
    });
  }
}

interface LayerPush {
  readonly client: RegistryClient;
  readonly reference: OciReference;
  readonly file: PublishedFile;
  /** ChainID of the layers below it. */
  readonly below: Digest | undefined;
  readonly options: Pick<PushOptions, 'tmp' | 'blobs'>;
  readonly meter: Meter;
}

/** Returns a blob of this layer that the repository has, or that can be mounted from another repository. */
async function findLayer(push: LayerPush, signal: AbortSignal): Promise<ExportedLayer | undefined> {
  const { client, reference, file, below, options } = push;
  const known = options.blobs.find({ below, layer: file.digest });
  for (const { digest, diffId, bytes, mediaType, registry, repository } of known) {
    const there =
      (await hasBlob(client, reference, digest, signal)) ||
      (registry === reference.registry &&
        repository !== reference.repository &&
        (await mountBlob(client, reference, { digest, from: repository }, signal)));
    if (there) return { digest, diffId, bytes, mediaType: ociLayerType(mediaType) };
  }
  return undefined;
}

async function pushLayer(push: LayerPush, signal: AbortSignal): Promise<ExportedLayer> {
  const { client, reference, file, below, options, meter } = push;
  const [plain, stored] = [new StreamDigest(), new StreamDigest()];
  await using spool = await Spool.create(options.tmp);
  const source = observed(plain.through(packed(file, signal)), (chunk) => meter.packed(chunk.byteLength));
  await spool.fill(stored.through(gzip(source)));
  const [digest, diffId, bytes] = [fromHex(stored.sha256()), fromHex(plain.sha256()), stored.bytes];
  const open = (): AsyncIterable<Uint8Array> => {
    meter.layerOpened();
    return observed(spool.read(), (chunk) => meter.sent(chunk.byteLength));
  };
  await pushBlob(client, reference, { digest, bytes, open }, signal);
  const layer = { mediaType: OCI_LAYER_GZIP, digest, bytes, diffId };
  const { registry, repository } = reference;
  options.blobs.remember({ below, layer: file.digest }, { ...layer, registry, repository });
  return layer;
}

/** Compresses with gzip. Node writes neither a name nor a time into the header, so equal input gives equal output. */
async function* gzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const encoder = createGzip({ level: GZIP_LEVEL });
  const input = Readable.from(source, { objectMode: true, highWaterMark: 2 });
  input.on('error', (error) => encoder.destroy(error));
  input.pipe(encoder);
  try {
    for await (const chunk of encoder) yield chunk as Uint8Array;
  } finally {
    input.destroy();
    encoder.destroy();
  }
}

function blobOf({ digest, bytes }: MemoryBlob) {
  return {
    digest,
    bytes: bytes.length,
    open: async function* () {
      yield bytes;
    },
  };
}
