import { z } from 'zod';
import { fault, isFault } from '../../../contract/errors.ts';
import { limits } from '../../../contract/limits.ts';
import { type Digest, digestOf, fromHex, hexOf } from '../../../registry/digest.ts';
import { findImage } from '../../../registry/find-image.ts';
import {
  type Descriptor,
  type ManifestDocument,
  parseDocument,
  parseJson,
  platformCandidates,
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
/** Entries without a platform that are read to find the image among artifacts. */
const ENTRIES_TRIED_MAX = 64;
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
  const chosen = await chooseEntry(archive, top.manifests);
  const { layers, config } = await findImage(await readDocument(index, chosen), {
    platform: archive.platform,
    name: archive.name,
    refuse,
    document: (descriptor) => readDocument(index, descriptor),
    config: ({ digest }) => readBlob(index, digest, limits.configBytesMax),
  });
  return {
    reference: nameOf(chosen) ?? archive.name,
    digest: chosen.digest,
    config: config.config,
    history: config.history,
    leftOut: config.leftOut,
    layers: layers.map((layer, position) => layerOf(index, layer, config.diffIds[position])),
    origin: undefined,
  };
}

/** Returns the entry of `index.json` to open: that of the requested image, or the only one; best platform first. */
async function chooseEntry(
  { index, name, reference, platform }: IndexedArchive,
  manifests: readonly Descriptor[],
): Promise<Descriptor> {
  const wanted = chooseImage(
    manifests.map((manifest) => ({ names: namesOf(manifest), manifest })),
    reference,
  ).map(({ manifest }) => manifest);
  const [first] = wanted;
  if (wanted.length === 1 && first !== undefined) return first;
  if (wanted.every((manifest) => manifest.platform !== undefined)) {
    const [best] = platformCandidates(wanted, platform, name);
    if (best !== undefined) return best;
  }
  const images: Descriptor[] = [];
  for (const manifest of wanted.slice(0, ENTRIES_TRIED_MAX)) {
    if (await isImage(index, manifest)) images.push(manifest);
  }
  const [only, another] = images;
  if (only === undefined || another !== undefined) throw refuse('it holds several images without names');
  return only;
}

/** Reports whether an entry is an image rather than an artifact. */
async function isImage(index: ArchiveIndex, descriptor: Descriptor): Promise<boolean> {
  try {
    await readDocument(index, descriptor);
    return true;
  } catch (error) {
    if (isFault(error, 'MEDIA_TYPE_UNSUPPORTED')) return false;
    throw error;
  }
}

function namesOf({ annotations = {} }: Descriptor): string[] {
  return NAME_ANNOTATIONS.flatMap((key) => annotations[key] ?? []);
}

function nameOf(manifest: Descriptor): string | undefined {
  return namesOf(manifest)[0];
}

async function readDocument(index: ArchiveIndex, { digest, mediaType }: Descriptor): Promise<ManifestDocument> {
  return parseDocument(await readBlob(index, digest, limits.manifestBytesMax), [mediaType], refuse);
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
