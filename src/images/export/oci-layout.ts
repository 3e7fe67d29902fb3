import { checkPackable, packLayer } from '../../layers/pack.ts';
import { contentPadding, encodeFileHeader, TAR_END } from '../../tar/writer.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import type { PublishedFile } from '../../store/layers.ts';
import { LayerReader } from '../../erofs/reader.ts';
import { type Digest, hexOf } from '../../registry/digest.ts';
import { OCI_LAYER } from '../../registry/media-types.ts';
import { assert } from '../../std/assert.ts';
import { encodeConfig, encodeIndex, encodeManifest, type ExportedLayer, type ExportFacts } from './config.ts';
import { hashStream } from '../../std/streams.ts';

export interface ExportRequest extends ExportFacts {
  /** Layers, bottom first; the caller holds them until the export has ended. */
  readonly layers: readonly PublishedFile[];
  /** Name of the image in the layout (default: its UUID). */
  readonly name?: string;
}

/**
 * Streams an image as an OCI layout in a tar, which Docker can load too. Layers are stored uncompressed: the same image
 * gives the same bytes everywhere, and no temporary file is needed. Each layer is read twice, because its digest
 * precedes it. Faults: ARGUMENT_INVALID for a file name that OCI layers cannot represent.
 */
export async function* exportLayout(request: ExportRequest, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  const { uuid, layers: files, name = uuid } = request;
  for (const file of files) await check(file, signal);
  // The first bytes say that the image can be exported; what follows may take a while.
  yield* small('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  const layers: ExportedLayer[] = [];
  for (const file of files) layers.push(await measure(file, signal));
  const config = encodeConfig(request, layers);
  const manifest = encodeManifest(config, layers);
  yield* small('index.json', encodeIndex(manifest, name));
  yield* small('manifest.json', dockerManifest(blobPath(config.digest), layers));
  yield* small(blobPath(manifest.digest), manifest.bytes);
  yield* small(blobPath(config.digest), config.bytes);
  const written = new Set<string>();
  for (const [index, file] of files.entries()) {
    const layer = layers[index];
    assert(layer !== undefined, 'every layer was measured');
    if (written.has(layer.digest)) continue;
    written.add(layer.digest);
    yield encodeFileHeader(blobPath(layer.digest), layer.bytes);
    yield* packed(file, signal);
    yield contentPadding(layer.bytes);
  }
  yield TAR_END;
}

async function check(file: LayerFile, signal: AbortSignal | undefined): Promise<void> {
  await using reader = await LayerReader.open(file);
  await checkPackable(reader, signal);
}

/** Streams the layer's tar, as made by `packLayer`. */
export async function* packed(file: LayerFile, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  await using reader = await LayerReader.open(file);
  for await (const chunk of packLayer(reader)) {
    signal?.throwIfAborted();
    yield chunk;
  }
}

async function measure(file: LayerFile, signal: AbortSignal | undefined): Promise<ExportedLayer> {
  const { sha256, bytes } = await hashStream(packed(file, signal));
  const digest: Digest = `sha256:${sha256}`;
  return { mediaType: OCI_LAYER, digest, bytes, diffId: digest };
}

/** Returns the `manifest.json` that Docker before version 25 needs (moby, image/tarexport). */
function dockerManifest(config: string, layers: readonly ExportedLayer[]): Buffer {
  const paths = layers.map(({ digest }) => blobPath(digest));
  return Buffer.from(JSON.stringify([{ Config: config, RepoTags: null, Layers: paths }]));
}

function* small(path: string, bytes: Buffer): Generator<Uint8Array> {
  yield encodeFileHeader(path, bytes.length);
  yield bytes;
  yield contentPadding(bytes.length);
}

function blobPath(digest: ExportedLayer['digest']): string {
  return `blobs/sha256/${hexOf(digest)}`;
}
