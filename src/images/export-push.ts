import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import type { LayerFile } from '../contract/layer.ts';
import { RegistryClient, type RegistrySettings } from '../registry/client.ts';
import type { CredentialSource } from '../registry/credentials.ts';
import { type Digest, finish } from '../registry/digest.ts';
import { OCI_LAYER_GZIP, OCI_MANIFEST } from '../registry/media-types.ts';
import { pushBlob, pushManifest } from '../registry/push.ts';
import { formatReference, type OciReference, parseReference } from '../registry/reference.ts';
import { packed, type ExportRequest } from './export.ts';
import { type Document, encodeConfig, encodeManifest, type ExportedLayer } from './export-config.ts';
import { Spool } from './import-spool.ts';

/** Half as slow as zlib's default for a few per cent more bytes. */
const GZIP_LEVEL = 4;

export interface PushOptions {
  readonly registries: RegistrySettings;
  readonly credentials: CredentialSource;
  /** Folder for one compressed layer at a time. */
  readonly tmp: string;
  /** One line for people. */
  readonly progress: (line: string) => void;
}

export interface Pushed {
  /** Normalised reference. */
  readonly reference: string;
  readonly digest: Digest;
}

/**
 * Pushes an image to a registry. Layers go up gzipped, bottom first, and only where the repository lacks them; the
 * manifest goes last, so that a push that ends half-way changes nothing anybody can pull.
 * Faults: REFERENCE_INVALID, REGISTRY_*, DIGEST_MISMATCH, ARGUMENT_INVALID, DISK_FULL.
 */
export async function pushImage(
  request: ExportRequest,
  target: string,
  options: PushOptions,
  signal: AbortSignal,
): Promise<Pushed> {
  const reference = parseReference(target);
  await using client = new RegistryClient(reference.registry, options.registries, options.credentials);
  const layers: ExportedLayer[] = [];
  for (const [index, file] of request.layers.entries()) {
    const { layer, sent } = await pushLayer({ client, reference, file, tmp: options.tmp }, signal);
    layers.push(layer);
    const how = sent ? `sent, ${(layer.bytes / 1e6).toFixed(1)} MB` : 'there already';
    options.progress(`layer ${index + 1}/${request.layers.length} ${how}`);
  }
  const config = encodeConfig(request, layers);
  await pushBlob(client, reference, blobOf(config), signal);
  const { bytes } = encodeManifest(config, layers);
  const digest = await pushManifest(client, reference, { bytes, mediaType: OCI_MANIFEST }, signal);
  options.progress(`pushed ${formatReference(reference)}`);
  return { reference: formatReference(reference), digest };
}

interface LayerPush {
  readonly client: RegistryClient;
  readonly reference: OciReference;
  readonly file: LayerFile;
  readonly tmp: string;
}

async function pushLayer(
  { client, reference, file, tmp }: LayerPush,
  signal: AbortSignal,
): Promise<{ readonly layer: ExportedLayer; readonly sent: boolean }> {
  const [plain, stored] = [createHash('sha256'), createHash('sha256')];
  let bytes = 0;
  await using spool = await Spool.create(tmp);
  const compressed = gzip(hashed(packed(file, signal), (chunk) => plain.update(chunk)));
  await spool.fill(
    hashed(compressed, (chunk) => {
      stored.update(chunk);
      bytes += chunk.byteLength;
    }),
  );
  const digest = finish(stored);
  const sent = await pushBlob(client, reference, { digest, bytes, open: () => spool.read() }, signal);
  return { layer: { mediaType: OCI_LAYER_GZIP, digest, bytes, diffId: finish(plain) }, sent };
}

async function* hashed(
  source: AsyncIterable<Uint8Array>,
  update: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    update(chunk);
    yield chunk;
  }
}

/** Node writes neither a name nor a time into the header, so equal input gives equal output. */
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

function blobOf({ digest, bytes }: Document) {
  return {
    digest,
    bytes: bytes.length,
    open: async function* () {
      yield bytes;
    },
  };
}
