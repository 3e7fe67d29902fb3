import { createWriteStream } from 'node:fs';
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ConTree } from '../../contract/contree.ts';
import { isFault } from '../../contract/errors.ts';
import type { DiffEntry } from '../../contract/inspect.ts';
import { limits } from '../../contract/limits.ts';
import type { ByteString } from '../../std/bytes.ts';
import { pathFromText, textFromPath } from '../../std/path-text.ts';
import { type TarEntry, TarReader } from '../../tar/reader.ts';
import { contentPadding, encodeHeader, TAR_END } from '../../tar/writer.ts';

/** Server that is read, and the signal that ends the work. */
export interface Reading {
  readonly contree: ConTree;
  readonly signal: AbortSignal;
}

/** An image and another that was made from it. */
export interface ImagePair {
  readonly from: string;
  readonly to: string;
}

/** Difference of two images that was written as an archive. Paths are absolute, in the form of the API. */
export interface WrittenChanges {
  /** Number of members of the archive; without any there is no archive. */
  readonly members: number;
  /** Paths of its files and links. */
  readonly files: readonly string[];
  /** Uppermost paths that have to be removed before the archive is unpacked. */
  readonly removed: readonly string[];
  /** Paths of sockets, which no archive can hold. */
  readonly sockets: readonly string[];
}

/** Writes what was added to an image or changed in it as a tar that ADD unpacks, and returns what was removed. */
export async function writeChanges(reading: Reading, pair: ImagePair, file: string): Promise<WrittenChanges> {
  const entries = await changesBelow(reading, pair, '/');
  const gone = new Set(entries.filter(({ change }) => change === 'removed').map(({ path }) => path));
  const replaced = new Set(entries.filter(({ change }) => change === 'modified').map(({ path }) => path));
  // Whatever was below a removed directory, or below one that something else replaces, goes with it.
  const removed = [...gone].filter((path) => !above(path).some((parent) => gone.has(parent) || replaced.has(parent)));
  const kept = entries.filter(({ change, type }) => change !== 'removed' && type !== 'socket');
  const members = kept.length === 0 ? 0 : await writeMembers(reading, { image: pair.to, entries: kept }, file);
  return {
    members,
    files: kept.filter(({ type }) => type !== 'directory').map(({ path }) => path),
    removed,
    sockets: entries.filter(({ change, type }) => change === 'added' && type === 'socket').map(({ path }) => path),
  };
}

/** Returns all differences at a path and below it, with one question for each part that is too large for an answer. */
async function changesBelow(reading: Reading, pair: ImagePair, path: string): Promise<readonly DiffEntry[]> {
  const { contree, signal } = reading;
  const query = { to: pair.to, path, limit: limits.entriesListedMax };
  const { entries, truncated } = await contree.images.diff(pair.from, query, signal);
  if (!truncated) return entries;
  const names = new Set([...(await namesIn(reading, pair.from, path)), ...(await namesIn(reading, pair.to, path))]);
  const all = entries.filter((entry) => entry.path === path);
  for (const name of [...names].sort()) all.push(...(await changesBelow(reading, pair, posix.join(path, name))));
  return all;
}

async function namesIn({ contree, signal }: Reading, image: string, path: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for (;;) {
      const range = { limit: limits.entriesListedMax, offset: names.length };
      const { files } = await contree.files.list(image, { path, ...range }, signal);
      names.push(...files.map((file) => posix.basename(file.path)));
      if (files.length < limits.entriesListedMax) return names;
    }
  } catch (error) {
    // One of the two images may have nothing there.
    if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY')) return [];
    throw error;
  }
}

async function writeMembers(
  reading: Reading,
  { image, entries }: { readonly image: string; readonly entries: readonly DiffEntry[] },
  file: string,
): Promise<number> {
  let members = 0;
  async function* chosen(): AsyncGenerator<Uint8Array> {
    for (const part of Map.groupBy(entries, ({ path }) => path.split('/')[1]).values()) {
      const wanted = new Set(part.map(({ path }) => path));
      for await (const bytes of membersOf(reading, { image, path: placeOf(part), wanted })) {
        members += 1;
        yield* bytes;
      }
    }
    yield TAR_END;
  }
  await pipeline(Readable.from(chosen()), createWriteStream(file, { flags: 'wx' }), { signal: reading.signal });
  return members;
}

/** Yields the bytes of each wanted member of the archive of a path, with its name in the image. */
async function* membersOf(
  { contree, signal }: Reading,
  {
    image,
    path: place,
    wanted,
  }: { readonly image: string; readonly path: string; readonly wanted: ReadonlySet<string> },
): AsyncGenerator<AsyncIterable<Uint8Array>> {
  const archive = new TarReader(await contree.files.archive(image, { path: place }, signal));
  // Names of the archive begin with that of the entry itself.
  const prefix = pathFromText(posix.dirname(place)).replace(/^\/+/u, '');
  const placed = (name: ByteString): ByteString =>
    [prefix, name.replace(/^\.?\//u, '').replace(/\/$/u, '')].filter(Boolean).join('/');
  async function* whole(entry: TarEntry, path: ByteString): AsyncGenerator<Uint8Array> {
    yield encodeHeader({ ...entry, path, ...(entry.type === 'link' && { linkpath: placed(entry.linkpath) }) });
    yield* archive.content();
    yield contentPadding(entry.size);
  }
  for (let entry = await archive.next(); entry !== undefined; entry = await archive.next()) {
    const path = placed(entry.path);
    if (wanted.has(`/${textFromPath(path)}`)) yield whole(entry, path);
  }
}

/** Returns the lowest path whose archive has all of the entries in it. */
function placeOf(entries: readonly DiffEntry[]): string {
  const [first] = entries;
  if (first !== undefined && entries.length === 1 && first.type === 'file') return first.path;
  let common: string[] | undefined;
  for (const { path, type } of entries) {
    const names = (type === 'directory' ? path : posix.dirname(path)).split('/').filter(Boolean);
    const known = common ?? names;
    const end = known.findIndex((name, index) => names[index] !== name);
    common = end < 0 ? known : known.slice(0, end);
  }
  return `/${(common ?? []).join('/')}`;
}

function above(path: string): string[] {
  const names = path.split('/');
  return names.slice(1, -1).map((_, index) => names.slice(0, index + 2).join('/'));
}
