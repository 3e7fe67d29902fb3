import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { toByteString } from '../../std/bytes.ts';
import { contentPadding, encodeFileHeader, TAR_END } from '../../tar/writer.ts';

/** Local file or folder that can be imported. */
export interface LocalArchive {
  readonly name: string;
  /** Approximate number of bytes that `open` yields. */
  readonly bytes: number;
  readonly open: () => AsyncIterable<Uint8Array>;
}

/**
 * Opens a file (docker-save archive, OCI layout in a tar, root file system tar) or a folder with an OCI layout, which
 * is packed while it is read. Returns undefined when the path does not exist. Faults: ARCHIVE_INVALID.
 */
export async function findLocalArchive(path: string): Promise<LocalArchive | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) return undefined;
  const name = basename(path);
  if (info.isFile()) return { name, bytes: info.size, open: () => createReadStream(path) };
  if (!info.isDirectory()) throw fault('ARCHIVE_INVALID', { reason: `${name} is neither a file nor a folder` });
  const files = await layoutFiles(path);
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  return { name, bytes, open: () => packFiles(path, files) };
}

interface LayoutFile {
  readonly path: string;
  readonly size: number;
}

async function layoutFiles(folder: string): Promise<LayoutFile[]> {
  // First, because any other folder may be large, or change while it is read.
  const mark = await stat(join(folder, 'oci-layout')).catch(() => undefined);
  if (mark?.isFile() !== true) {
    throw fault('ARCHIVE_INVALID', { reason: `the folder ${basename(folder)} has no oci-layout file` });
  }
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const names = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    return await Promise.all(names.toSorted().map(async (path) => ({ path, size: (await stat(path)).size })));
  } catch (error) {
    const { code = 'an error' } = error as NodeJS.ErrnoException;
    throw fault(
      'ARCHIVE_INVALID',
      { reason: `the folder ${basename(folder)} cannot be read: ${code}` },
      { cause: error },
    );
  }
}

async function* packFiles(folder: string, files: readonly LayoutFile[]): AsyncGenerator<Uint8Array> {
  for (const { path, size } of files) {
    yield encodeFileHeader(toByteString(relative(folder, path)), size);
    yield* exactly(createReadStream(path), size, path);
    yield contentPadding(size);
  }
  yield TAR_END;
}

/** The content of a file of known size. A file that changed meanwhile would shift every member after it. */
async function* exactly(content: AsyncIterable<Uint8Array>, size: number, path: string): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.byteLength;
    if (bytes > size) break;
    yield chunk;
  }
  if (bytes !== size) throw fault('ARCHIVE_INVALID', { reason: `${basename(path)} changed while it was read` });
}
