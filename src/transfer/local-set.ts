import { hash } from 'node:crypto';
import { fault, type ContreeError } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { textFromPath } from '../std/path-text.ts';
import { hashStream, observed } from '../std/streams.ts';
import type { Folder } from './folder.ts';
import type { CachedFolder, Known } from './hash-cache.ts';
import { NotRegular, OpenFile, versionOf } from './open-file.ts';
import { isSecretContent, SECRET_LOOK_BYTES } from './rules/secrets.ts';
import { LOOKS_SECRET, walk, type Found, type Rules } from './walk.ts';

/** Regular file of the set; its digest is that of the bytes actually read. */
export interface LocalFile {
  /** Path relative to the source, as text. */
  readonly path: string;
  readonly mode: number;
  readonly mtime: number;
  sha256: string;
  size: number;
  /** True when it is new or its content differs from the last sync. */
  readonly edited: boolean;
  /** True when it no longer exists. */
  gone?: boolean;
  /** Content kept for sending, if there was room for it; the sender removes it. */
  content?: Uint8Array | undefined;
}

/** A directory or a symlink of the set. */
export interface LocalName {
  readonly path: string;
  readonly mode: number;
  readonly target?: string;
}

/** Everything below a folder that is part of the sync. */
export interface LocalSet {
  readonly files: readonly LocalFile[];
  readonly others: readonly LocalName[];
  /** Skipped or incomplete files, with the reason. */
  readonly skipped: string[];
  /** Paths that the ignore rules leave out, with their number of files; directories end with a slash. */
  readonly leftOut: ReadonlyMap<string, number>;
  /** Paths that were skipped. */
  readonly skippedPaths: ReadonlySet<string>;
}

/**
 * Limit of the contents of all files kept until they are sent: reading a small file twice costs more than sending it.
 */
const KEPT_BYTES_MAX = 32 * 1024 * 1024;
/** Attempts to read a file that is being written before the last result is used. */
const ATTEMPTS = 3;
/** Clock resolutions of file systems that count whole seconds, and of those that count ticks. */
const COARSE_NS = 2_000_000_000n;
const TICK_NS = 50_000_000n;
const PERMISSIONS = 0o777n;
const WHOLE_MODE = 0o7777n;
const FOLDERS_SHOWN = 5;
/** Longest path below the source; the rest is for the destination. */
const PATH_BYTES_MAX = limits.pathBytesMax / 2;
/** Length in characters below which a name cannot exceed the limit in bytes. */
const NAME_SAFE = limits.nameBytesMax / 4;

export interface CollectOptions {
  readonly rules: Rules;
  readonly cache: CachedFolder;
  /** True to keep the bits above those of owner, group and others. */
  readonly wholeModes: boolean;
  readonly signal: AbortSignal;
  readonly onFile?: (count: number) => void;
}

/**
 * Walks a folder and returns its files with their digests; files that are not in the cache are read.
 * Faults: SYNC_LIMIT, PATH_INVALID.
 */
export async function collectFolder(source: Folder, options: CollectOptions): Promise<LocalSet> {
  const collector = new Collector(options);
  const { rules, cache, signal } = options;
  await walk(source, rules, collector, signal);
  cache.save();
  return collector;
}

type Content = Known & Pick<LocalFile, 'size' | 'edited' | 'content'>;

class Collector implements LocalSet {
  readonly files: LocalFile[] = [];
  readonly others: LocalName[] = [];
  readonly skipped: string[] = [];
  readonly skippedPaths = new Set<string>();
  readonly leftOut = new Map<string, number>();
  readonly #options: CollectOptions;
  #keptBytes = 0;

  constructor(options: CollectOptions) {
    this.#options = options;
  }

  readonly skip = (path: string, why: string): void => {
    this.skipped.push(`${path} (${why})`);
    this.skippedPaths.add(path.replace(/\/$/u, ''));
  };

  readonly leaveOut = (path: string, files: number): void => void this.leftOut.set(path, files);

  readonly visit = (found: Found): Promise<void> | void => {
    const { path, kind, info } = found;
    if (this.files.length + this.others.length >= limits.directoryStateEntriesMax) throw this.#tooMany();
    const problem = pathProblem(path);
    if (problem !== undefined) return this.skip(path, problem);
    if (kind === 'file') return this.#visitFile(found);
    const mode = kind === 'folder' ? this.#mode(info) : 0o777;
    const target = kind === 'link' ? textFromPath(found.folder.linkTarget(found.name)) : undefined;
    this.others.push({ path, mode, ...(target !== undefined && { target }) });
  };

  #visitFile(found: Found): Promise<void> | void {
    const known = this.#options.cache.get(found.path, versionOf(found.info));
    if (known === undefined) return this.#read(found);
    this.#add(found, { ...known, size: Number(found.info.size), edited: false });
  }

  async #read(found: Found): Promise<void> {
    const { cache, signal } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      const startedNs = BigInt(Date.now()) * 1_000_000n;
      using file = openFound(found);
      if (file === undefined) return this.skip(found.path, 'replaced while it was read');
      const { known, size, content } = await digest(found.path, file, signal);
      const stable = file.isUnchanged() && BigInt(size) === file.info.size;
      if (!stable && attempt < ATTEMPTS) continue;
      if (!stable) this.skip(found.path, `is being written; its first ${size} bytes are sent`);
      const edited = cache.last(found.path) !== known.sha256;
      // An unsettled file is recorded but read again next time.
      cache.set(found.path, stable && isSettled(file, startedNs) ? versionOf(file.info) : '', known);
      return this.#add({ ...found, info: file.info }, { ...known, size, edited, ...(edited && { content }) });
    }
  }

  #mode({ mode }: Found['info']): number {
    return Number(mode & (this.#options.wholeModes ? WHOLE_MODE : PERMISSIONS));
  }

  #add({ path, info, wanted }: Found, content: Content): void {
    const { secret, content: bytes, ...facts } = content;
    if (secret && !wanted) return this.skip(path, LOOKS_SECRET);
    const mtime = Number(info.mtimeNs / 1_000_000_000n);
    this.files.push({ path, mode: this.#mode(info), mtime, ...facts, content: this.#kept(bytes) });
    this.#options.onFile?.(this.files.length);
  }

  #kept(bytes: Uint8Array | undefined): Uint8Array | undefined {
    if (bytes === undefined || this.#keptBytes + bytes.byteLength > KEPT_BYTES_MAX) return undefined;
    this.#keptBytes += bytes.byteLength;
    return bytes;
  }

  /** Returns the fault that lists the folders a user would exclude first. */
  #tooMany(): ContreeError {
    const counts = new Map<string, number>();
    for (const { path } of [...this.files, ...this.others]) {
      const folder = path.split('/').slice(0, -1).slice(0, 2).join('/');
      counts.set(folder, (counts.get(folder) ?? 0) + 1);
    }
    const largest = [...counts].sort(([, left], [, right]) => right - left).slice(0, FOLDERS_SHOWN);
    const shown = largest.map(([folder, count]) => `${folder === '' ? '.' : folder}/ ${count}`).join(', ');
    return fault('SYNC_LIMIT', { limit: limits.directoryStateEntriesMax, largest: shown });
  }
}

/** Opens a file; returns undefined when it is no longer a regular file. */
function openFound({ folder, name }: Found): OpenFile | undefined {
  try {
    return new OpenFile(folder.openToRead(name));
  } catch (error) {
    if (error instanceof NotRegular) return undefined;
    throw error;
  }
}

async function digest(
  path: string,
  file: OpenFile,
  signal: AbortSignal,
): Promise<{ readonly known: Known; readonly size: number; readonly content?: Uint8Array }> {
  const small = file.small();
  if (small !== undefined) {
    const secret = isSecretContent(path, small.subarray(0, SECRET_LOOK_BYTES));
    return { known: { sha256: hash('sha256', small, 'hex'), secret }, size: small.byteLength, content: small };
  }
  let secret: boolean | undefined;
  const content = observed(file.content(signal), (chunk) => {
    secret ??= isSecretContent(path, chunk.subarray(0, SECRET_LOOK_BYTES));
  });
  const { sha256, bytes } = await hashStream(content);
  return { known: { sha256, secret: secret ?? false }, size: bytes };
}

/**
 * Reports whether a write after this reading would change the file's times. It would not when the last write was less
 * than a clock tick ago, because the next may get the same time (git calls such files racy).
 */
function isSettled({ info }: OpenFile, startedNs: bigint): boolean {
  const latest = info.mtimeNs > info.ctimeNs ? info.mtimeNs : info.ctimeNs;
  const grain = info.ctimeNs % 1_000_000_000n === 0n ? COARSE_NS : TICK_NS;
  return latest + grain < startedNs;
}

/**
 * Returns the reason why a path cannot be part of a directory state. Names that are not UTF-8 are longer as text than
 * on disk.
 */
function pathProblem(path: string): string | undefined {
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) return 'its path is too long';
  const long = path.split('/').some((name) => name.length > NAME_SAFE && Buffer.byteLength(name) > limits.nameBytesMax);
  return long ? 'its name is too long' : undefined;
}
