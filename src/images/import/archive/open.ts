import { open } from 'node:fs/promises';
import { decompress, unpackBound } from '../../../tar/compression.ts';
import { parseHeader, TAR_BLOCK_BYTES } from '../../../tar/header.ts';
import { type TarEntry, TarReader } from '../../../tar/reader.ts';
import { fault, isFault } from '../../../contract/errors.ts';
import { EMPTY_IMAGE_CONFIG } from '../../../contract/image.ts';
import { limits } from '../../../contract/limits.ts';
import type { Digest } from '../../../registry/digest.ts';
import type { OciImage } from '../../../registry/oci-image.ts';
import { hostPlatform, type Platform } from '../../../registry/platform.ts';
import { archiveFault, ArchiveIndex, memberName, nextEntry } from './members.ts';
import { DOCKER_MANIFEST, isDockerArchive, openDockerArchive, parseDockerManifest } from './docker.ts';
import { ArchiveEvidence } from './evidence.ts';
import { isOciLayout, openOciLayout, verified } from './oci.ts';
import { collect } from '../../../std/bytes.ts';
import { Spool } from '../spool.ts';

/** Archive file on the host. Its content is hostile. */
export interface ArchiveSource {
  readonly path: string;
  readonly bytes: number;
  /** Digest of the file itself. */
  readonly digest: Digest;
  /** Name for messages. */
  readonly name: string;
  /** Image to open if there are several. */
  readonly reference?: string | undefined;
  /** Folder for the unpacked form of a compressed image archive. */
  readonly tmp: string;
  /** Wanted platform (default: that of this machine). */
  readonly platform?: Platform;
}

/** Image in an archive; its layers can be read until it is disposed. */
export type ArchivedImage = OciImage & AsyncDisposable;

const READ_BYTES = 256 * 1024;
/**
 * Opens an uploaded archive: an OCI layout as tar, a `docker save` archive, or a tar of a root file system; each plain,
 * gzip or zstd. Faults: ARCHIVE_INVALID, and those of image manifests.
 */
export async function openArchive(source: ArchiveSource, signal: AbortSignal): Promise<ArchivedImage> {
  const kind = await classify(source, signal);
  const compressed = await isCompressed(source.path);
  if (kind === 'rootfs') return rootfsImage(source, compressed);
  await using resources = new AsyncDisposableStack();
  const file = resources.use(compressed ? await unpack(source, signal) : await openPlain(source));
  const index = await ArchiveIndex.open(file.file, signal);
  const image = await openIndexed(source, index);
  const owned = resources.move();
  return { ...image, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function openIndexed(source: ArchiveSource, index: ArchiveIndex): Promise<OciImage> {
  const { name, reference, platform = hostPlatform() } = source;
  const request = { index, name, reference, platform };
  // Newer versions of Docker write both forms into one archive; the layout has more information.
  if (isOciLayout(index)) return openOciLayout(request);
  if (isDockerArchive(index)) return openDockerArchive(request);
  throw fault('ARCHIVE_INVALID', { reason: 'it has neither an index.json nor a manifest.json' });
}

/** Reads members until one shows whether this is an image archive or a root file system, whatever their order. */
async function classify({ path, bytes }: ArchiveSource, signal: AbortSignal): Promise<'image' | 'rootfs'> {
  const plain = decompress(readFile(path, signal), unpackBound(bytes));
  const evidence = new ArchiveEvidence();
  try {
    const reader = new TarReader(plain);
    let entry = await firstEntry(reader);
    if (entry === undefined) throw fault('ARCHIVE_INVALID', { reason: 'it is empty' });
    for (; entry !== undefined; entry = await nextEntry(reader)) {
      const found = evidence.add(entry) ?? ((await isDockerManifest(entry, reader)) ? 'image' : undefined);
      if (found !== undefined) return found;
    }
    return evidence.conclusion;
  } finally {
    await plain.return(undefined);
  }
}

/** Reports whether a member is the manifest of a `docker save` archive; reads its content. */
async function isDockerManifest(entry: TarEntry, reader: TarReader): Promise<boolean> {
  if (entry.type !== 'file' || memberName(entry) !== DOCKER_MANIFEST || entry.size > limits.manifestBytesMax)
    return false;
  return parseDockerManifest(await collect(reader.content(), limits.manifestBytesMax)) !== undefined;
}

/** Returns the first member; it shows whether the file is a tar at all. */
async function firstEntry(reader: TarReader): Promise<TarEntry | undefined> {
  try {
    return await nextEntry(reader);
  } catch (error) {
    if (!isFault(error, 'ARCHIVE_INVALID')) throw error;
    throw fault('ARCHIVE_INVALID', { reason: 'it is not a tar file' }, { cause: error });
  }
}

/** Reports whether the file does not start with a tar header. */
async function isCompressed(path: string): Promise<boolean> {
  await using file = await open(path, 'r');
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  await file.read(block, 0, block.length, 0);
  try {
    parseHeader(block);
    return false;
  } catch {
    return true;
  }
}

/** Returns an image with a single layer, built directly from the file. */
function rootfsImage({ path, bytes, digest, name }: ArchiveSource, compressed: boolean): ArchivedImage {
  const layer = {
    digest,
    diffId: compressed ? undefined : digest,
    mediaType: 'application/x-tar',
    bytes,
    open: (signal: AbortSignal) => verified(readFile(path, signal), digest),
  };
  return {
    reference: name,
    digest,
    config: EMPTY_IMAGE_CONFIG,
    history: [],
    leftOut: [],
    layers: [layer],
    origin: undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function openPlain({ path }: ArchiveSource) {
  const file = await open(path, 'r');
  return { file, [Symbol.asyncDispose]: () => file.close() };
}

async function unpack({ path, bytes, tmp }: ArchiveSource, signal: AbortSignal): Promise<Spool> {
  const spool = await Spool.create(tmp);
  try {
    await spool.fill(decompress(readFile(path, signal), unpackBound(bytes)));
    return spool;
  } catch (error) {
    await spool[Symbol.asyncDispose]();
    throw archiveFault(error);
  }
}

async function* readFile(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  await using file = await open(path, 'r');
  for (;;) {
    signal.throwIfAborted();
    const chunk = Buffer.allocUnsafe(READ_BYTES);
    const { bytesRead } = await file.read(chunk, 0, chunk.length, null);
    if (bytesRead === 0) return;
    yield chunk.subarray(0, bytesRead);
  }
}
