import { randomUUID } from 'node:crypto';
import { linkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, posix } from 'node:path';
import type { ConTree } from '../contract/contree.ts';
import { fault, type ContreeError } from '../contract/errors.ts';
import { bytesOf, type ByteString } from '../std/bytes.ts';
import { pathFromText, textFromPath } from '../std/path-text.ts';
import { StreamDigest } from '../std/streams.ts';
import { systemCode, type Folder } from './folder.ts';
import type { DownloadReport, DownloadRequest, LinkRequest, TransferOptions } from './local-files.ts';
import type { Place, Roots } from './roots.ts';
import { isStartUpFile } from './start-up-files.ts';

/** Mode before the umask. */
const PLAIN_MODE = 0o666;
const EXECUTABLE_MODE = 0o777;

/** Error codes of file systems without hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota is used up',
  ENAMETOOLONG: 'the name is too long',
  EISDIR: 'it is a directory',
};

/** File to create in a folder. */
export interface NewFile {
  readonly body: AsyncIterable<Uint8Array>;
  /** Bytes that the body must have; undefined when unknown. */
  readonly size?: number;
  readonly executable: boolean;
  readonly overwrite: boolean;
}

/** Places to which downloads may go. */
export interface DownloadPlaces {
  readonly roots: Roots;
  /** True when they may be start-up files. */
  readonly startUpFiles: boolean;
}

/** Copies a file of an image to the destination of the request. */
export async function downloadFile(
  contree: ConTree,
  { roots, startUpFiles }: DownloadPlaces,
  request: DownloadRequest,
  { signal, onProgress }: TransferOptions,
): Promise<DownloadReport> {
  const { image, path, executable, overwrite, destination } = request;
  const refuse = (below: string): void => {
    if (!startUpFiles && isStartUpFile(below)) throw fault('STARTUP_FILE_DENIED', { path: destination });
  };
  // Both are looked at: a link may lead from such a name, or to it.
  refuse(roots.belowGiven(destination));
  makeFolders(roots, destination);
  using place = destinationOf(roots, request);
  refuse(place.below);
  // Checked before anything is fetched, so that common refusals cost nothing.
  const replaced = whatIsThere(place, overwrite);
  const { body, size } = await contree.files.read(image, { path }, signal);
  const file = { body: reported(body, size, onProgress), size, executable, overwrite };
  const written = await writeFileInto(place, file, signal);
  return { destination: place.path, ...written, overwritten: replaced };
}

/**
 * Makes a symlink, which replaces a file or a link of its name and is never followed. Faults: PATH_OUTSIDE_ROOT when it or its
 * target is outside the allowed folders, ARGUMENT_INVALID when it cannot be made.
 */
export function makeLink(roots: Roots, { path, target }: LinkRequest): void {
  makeFolders(roots, path);
  using place = roots.place(path);
  if (!roots.keeps(place.path, target)) throw fault('PATH_OUTSIDE_ROOT', { path: target, roots: dirname(place.path) });
  whatIsThere(place, true);
  const temporary = `.contree-${randomUUID()}.part`;
  const { folder, name } = place;
  try {
    symlinkSync(bytesOf(pathFromText(target)), folder.at(temporary));
    renameSync(folder.at(temporary), folder.at(name));
  } catch (error) {
    throw writeFault(error, path);
  } finally {
    rmSync(folder.at(temporary), { force: true });
  }
}

function makeFolders(roots: Roots, destination: string): void {
  try {
    roots.makeFolders(destination);
  } catch (error) {
    throw writeFault(error, destination);
  }
}

/** Returns the place of a download: the path, or a name in it when it is a directory. */
function destinationOf(roots: Roots, { destination, path }: DownloadRequest): Place {
  const place = roots.place(destination);
  const isFolder = place.name === '' || find(place)?.isDirectory() === true;
  if (!isFolder && !destination.endsWith('/')) return place;
  place[Symbol.dispose]();
  // The name is bytes, which need not be UTF-8.
  const name = pathFromText(posix.basename(path));
  return openInside(roots.placeOfTarget(destination), name);
}

function openInside(above: Place, name: ByteString): Place {
  const path = posix.join(above.path, textFromPath(name));
  const below = posix.join(above.below, textFromPath(name));
  if (above.name === '') return { ...above, name, path, below };
  using _above = above;
  try {
    const folder = above.folder.folder(above.name);
    return { folder, name, path, below, [Symbol.dispose]: () => folder[Symbol.dispose]() };
  } catch (error) {
    throw writeFault(error, above.path);
  }
}

/**
 * Writes a file that gets its name only when it is complete. An existing entry of that name is replaced, never written
 * into or through. Set-user-id bits are never set; the rest of the mode depends on the user's umask. Faults:
 * DESTINATION_EXISTS, ARGUMENT_INVALID when the place cannot be written, REMOTE_FAILED when the body is short.
 */
export async function writeFileInto(
  place: Place,
  file: NewFile,
  signal: AbortSignal,
): Promise<{ readonly size: number; readonly sha256: string }> {
  const { folder, path } = place;
  whatIsThere(place, file.overwrite);
  // Not derived from the name, which may already have the maximum length.
  const temporary = `.contree-${randomUUID()}.part`;
  try {
    const written = await writeTemporary(folder.at(temporary), file, signal);
    signal.throwIfAborted();
    publish(place, temporary, file.overwrite);
    return written;
  } catch (error) {
    throw writeFault(error, path);
  } finally {
    rmSync(folder.at(temporary), { force: true });
  }
}

function find({ folder, name, path }: Place): ReturnType<Folder['find']> {
  try {
    return folder.find(name);
  } catch (error) {
    throw writeFault(error, path);
  }
}

/** Returns true when an existing file is replaced. Throws when the entry must not be replaced. */
function whatIsThere(place: Place, overwrite: boolean): boolean {
  const { name, path } = place;
  const info = name === '' ? undefined : find(place);
  if (name !== '' && info === undefined) return false;
  if (info === undefined || info.isDirectory()) throw unwritable(path, 'it is a directory');
  if (!overwrite) throw fault('DESTINATION_EXISTS', { path });
  if (!info.isFile() && !info.isSymbolicLink()) throw unwritable(path, 'it is neither a file nor a symbolic link');
  return true;
}

async function writeTemporary(
  path: Buffer,
  { body, size: expected, executable }: NewFile,
  signal: AbortSignal,
): Promise<{ readonly size: number; readonly sha256: string }> {
  const digest = new StreamDigest();
  await using file = await open(path, 'wx', executable ? EXECUTABLE_MODE : PLAIN_MODE);
  for await (const chunk of digest.through(body)) {
    signal.throwIfAborted();
    await file.writeFile(chunk);
  }
  const size = digest.bytes;
  if (expected !== undefined && size !== expected) {
    throw fault('REMOTE_FAILED', { status: 200, reason: `${size} of ${expected} bytes arrived` });
  }
  // A name that is visible before its content could refer to an empty file after a power cut.
  await file.datasync();
  return { size, sha256: digest.sha256() };
}

function publish({ folder, name, path }: Place, temporary: ByteString, overwrite: boolean): void {
  if (overwrite) return renameSync(folder.at(temporary), folder.at(name));
  try {
    // Unlike a rename, a link never replaces an entry created in between.
    linkSync(folder.at(temporary), folder.at(name));
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw fault('DESTINATION_EXISTS', { path }, { cause: error });
    if (!NO_LINKS.has(systemCode(error) ?? '')) throw error;
    if (folder.find(name) !== undefined) throw fault('DESTINATION_EXISTS', { path }, { cause: error });
    renameSync(folder.at(temporary), folder.at(name));
  }
}

async function* reported(
  body: AsyncIterable<Uint8Array>,
  total: number,
  onProgress: TransferOptions['onProgress'],
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const chunk of body) {
    yield chunk;
    done += chunk.byteLength;
    onProgress?.({ done, total, what: 'downloading' });
  }
}

function unwritable(path: string, reason: string, cause?: unknown): ContreeError {
  return fault('ARGUMENT_INVALID', { reason: `cannot write ${JSON.stringify(path)}: ${reason}` }, { cause });
}

/**
 * Returns the fault for a failed write. Errors of the system contain our internal path, which is useless to the user;
 * faults stay unchanged.
 */
function writeFault(error: unknown, path: string): unknown {
  const code = systemCode(error);
  return code === undefined ? error : unwritable(path, REASONS[code] ?? code, error);
}
