import { z } from 'zod';
import { fault } from '../../../contract/errors.ts';
import { limits } from '../../../contract/limits.ts';
import { type Digest, digestOf, fromHex, hexOf } from '../../../registry/digest.ts';
import { checkPlatform, parseConfig } from '../../../registry/image-config.ts';
import {
  choosePlatform,
  type Descriptor,
  type ManifestDocument,
  parseDocument,
  parseJson,
} from '../../../registry/manifest.ts';
import { OCI_INDEX } from '../../../registry/media-types.ts';
import type { OciImage, OciLayer } from '../../../registry/oci-image.ts';
import type { Platform } from '../../../registry/platform.ts';
import type { ArchiveIndex } from './members.ts';
import { chooseImage } from './choice.ts';
import { StreamDigest } from '../../../std/streams.ts';

export interface IndexedArchive {
  readonly index: ArchiveIndex;
  /** Name of the archive for messages. */
  readonly name: string;
  /** Image to open if there are several. */
  readonly reference: string | undefined;
  readonly platform: Platform;
}

const LAYOUT = 'oci-layout';
const INDEX = 'index.json';
const SMALL_BYTES_MAX = 64 * 1024;
/** Annotations with the name of an image (image-spec, annotations.md; containerd's own). */
const NAME_ANNOTATIONS = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

const Layout = z.object({ imageLayoutVersion: z.literal('1.0.0') });

export function isOciLayout(index: ArchiveIndex): boolean {
  return index.find(LAYOUT) !== undefined && index.find(INDEX) !== undefined;
}

/** Opens an OCI image layout (image-spec, image-layout.md). Faults: ARCHIVE_INVALID, those of image manifests. */
export async function openOciLayout(archive: IndexedArchive): Promise<OciImage> {
  const { index } = archive;
  const layout = Layout.safeParse(parseJson(await index.read(LAYOUT, SMALL_BYTES_MAX), refuse));
  if (!layout.success) throw refuse('its OCI layout has an unknown version');
  const top = parseDocument(await index.read(INDEX, limits.manifestBytesMax), [OCI_INDEX], refuse);
  if (top.kind !== 'index') throw refuse('its index.json is not an OCI image index');
  const chosen = chooseEntry(archive, top.manifests);
  const manifest = await follow(archive, chosen);
  const configBytes = await readBlob(index, manifest.config.digest, limits.configBytesMax);
  const config = parseConfig(configBytes, refuse);
  checkPlatform(config, archive.platform, archive.name);
  if (config.diffIds.length !== manifest.layers.length) throw refuse('its manifest and config do not match');
  return {
    reference: nameOf(chosen) ?? archive.name,
    digest: chosen.digest,
    config: config.config,
    history: config.history,
    layers: manifest.layers.map((layer, position) => layerOf(index, layer, config.diffIds[position])),
    origin: undefined,
  };
}

/** Returns the entry of `index.json` to open: that of the requested image, or the only one; best platform first. */
function chooseEntry({ name, reference, platform }: IndexedArchive, manifests: readonly Descriptor[]): Descriptor {
  const wanted = chooseImage(
    manifests.map((manifest) => ({ names: namesOf(manifest), manifest })),
    reference,
  ).map(({ manifest }) => manifest);
  const [first] = wanted;
  if (wanted.length === 1 && first !== undefined) return first;
  if (wanted.some((manifest) => manifest.platform === undefined)) throw refuse('it holds several images without names');
  return choosePlatform(wanted, platform, name);
}

function namesOf({ annotations = {} }: Descriptor): string[] {
  return NAME_ANNOTATIONS.flatMap((key) => annotations[key] ?? []);
}

function nameOf(manifest: Descriptor): string | undefined {
  return namesOf(manifest)[0];
}

type Manifest = Extract<ManifestDocument, { kind: 'manifest' }>;

async function follow({ index, platform, name }: IndexedArchive, from: Descriptor): Promise<Manifest> {
  let descriptor = from;
  for (let depth = 0; depth <= limits.indexDepthMax; depth += 1) {
    const bytes = await readBlob(index, descriptor.digest, limits.manifestBytesMax);
    const document = parseDocument(bytes, [descriptor.mediaType], refuse);
    if (document.kind === 'manifest') return document;
    descriptor = choosePlatform(document.manifests, platform, name);
  }
  throw fault('IMAGE_LIMIT', { what: 'nested indexes', limit: limits.indexDepthMax });
}

function layerOf(index: ArchiveIndex, { digest, mediaType, size }: Descriptor, diffId: Digest | undefined): OciLayer {
  const member = index.find(blobPath(digest));
  if (member === undefined) throw refuse(`it lacks ${blobPath(digest)}`);
  if (member.bytes !== size) {
    const actual = `none (it has ${member.bytes} bytes, not ${size})`;
    throw fault('DIGEST_MISMATCH', { what: blobPath(digest), expected: digest, actual });
  }
  return {
    digest,
    diffId,
    mediaType,
    bytes: size,
    open: (signal) => verified(index.stream(member, signal), digest),
  };
}

async function readBlob(index: ArchiveIndex, digest: Digest, bytesMax: number): Promise<Buffer> {
  const bytes = await index.read(blobPath(digest), bytesMax);
  const actual = digestOf(bytes);
  if (actual !== digest) throw fault('DIGEST_MISMATCH', { what: blobPath(digest), expected: digest, actual });
  return bytes;
}

/** Passes bytes on, and fails at their end when they do not match the digest. Faults: DIGEST_MISMATCH. */
export async function* verified(source: AsyncIterable<Uint8Array>, expected: Digest): AsyncGenerator<Uint8Array> {
  const digest = new StreamDigest();
  yield* digest.through(source);
  const actual = fromHex(digest.sha256());
  if (actual !== expected) throw fault('DIGEST_MISMATCH', { what: 'content of the archive', expected, actual });
}

function blobPath(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

function refuse(reason: string): Error {
  return fault('ARCHIVE_INVALID', { reason });
}
