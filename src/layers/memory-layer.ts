import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, statfs } from 'node:fs/promises';
import { fault, isFault } from '../contract/errors.ts';
import type { LayerFile } from '../erofs/layer-file.ts';
import { NO_XATTRS } from '../erofs/node.ts';
import { metadataOf } from './build-directory.ts';
import { LayerBuilder, type LayerEntry } from './layer-builder.ts';
import type { Tree } from './tree.ts';
import type { ByteString } from '../std/bytes.ts';

/** Folder whose files are in memory. */
const MEMORY = '/dev/shm';
/** Type of a tmpfs in statfs(2). */
const TMPFS = 0x01021994;
/** Flag of open(2) for a file without a name; Node has no constant for it. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
/** Layers of a sandbox have this mode: it may run as another user and opens them again. Without a name nobody else can. */
const MODE = 0o444;

/** Layer in memory, which is gone when it is disposed or the process ends. */
export interface MemoryLayer extends LayerFile, AsyncDisposable {}

/**
 * Makes a layer of files that are on no disk, over an image whose directories it keeps. It has no marks and no attributes:
 * of such a layer drivers keep no other form. Rejects with DRIVER_UNAVAILABLE where the host has no memory for files.
 */
export async function memoryLayer(
  files: ReadonlyMap<ByteString, LayerEntry>,
  image: Tree,
  signal: AbortSignal,
): Promise<MemoryLayer> {
  await using owned = new AsyncDisposableStack();
  const file = owned.use(await memoryFile());
  // As a mode of open(2) it would lack the bits of the umask.
  await file.chmod(MODE);
  await using builder = await LayerBuilder.create(file, { signal });
  await builder.add('', { type: 'directory', ...(await metadataOf(image, image.root)), xattrs: NO_XATTRS });
  for (const path of new Set([...files.keys()].flatMap(directoriesAbove))) {
    const node = await image.resolve(`/${path}`, { followLast: false }).catch((error: unknown) => {
      if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY')) return undefined;
      throw error;
    });
    if (node?.type !== 'directory') continue;
    await builder.add(path, { type: 'directory', ...(await metadataOf(image, node)), xattrs: NO_XATTRS });
  }
  for (const [path, entry] of files) await builder.add(path, entry);
  const { bytes } = await builder.finish();
  const kept = owned.move();
  return {
    path: `/proc/self/fd/${file.fd}`,
    bytes,
    // Numbers of descriptors are used again.
    version: randomUUID(),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function memoryFile(): Promise<FileHandle> {
  const { type } = await statfs(MEMORY).catch(() => ({ type: 0 }));
  // Secrets are never written to a disk instead.
  if (type !== TMPFS) {
    throw fault('DRIVER_UNAVAILABLE', {
      reason: `secrets of a build are kept in memory, and ${MEMORY} is not a tmpfs`,
    });
  }
  return await open(MEMORY, constants.O_RDWR | O_TMPFILE, 0o600);
}

/** Returns the directories above a path, outermost first. */
function directoriesAbove(path: ByteString): ByteString[] {
  const names = path.split('/');
  return names.slice(1).map((_, index) => names.slice(0, index + 1).join('/'));
}
