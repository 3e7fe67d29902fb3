import type { BigIntStats } from 'node:fs';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { textFromPath } from '../std/path-text.ts';
import type { Exclusion } from './rules/exclusion.ts';
import type { SyncFilter } from './local-files.ts';
import type { IgnoreRules } from './rules/ignore-rules.ts';
import { systemCode, type Folder } from './folder.ts';
import { isSecretFolder, isSecretName } from './rules/secrets.ts';

/** Entry below the source that is to be sent. */
export interface Found {
  /** Folder that contains it; open only during the visit. */
  readonly folder: Folder;
  readonly name: ByteString;
  /** Path relative to the source, as text (std/path-text.ts). */
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link';
  readonly info: BigIntStats;
  /** True when the user includes it even if it looks like a secret. */
  readonly wanted: boolean;
}

export interface Visitor {
  /** Visits an entry; may take time for a large file. Errors of the system mean that the file is skipped. */
  readonly visit: (found: Found) => Promise<void> | void;
  /** Called for entries that are skipped without a rule. */
  readonly skip: (path: string, why: string) => void;
  /** Called for what the ignore rules leave out: a file, or a directory with this number of files. */
  readonly leaveOut: (path: string, files: number) => void;
}

/** Rules of a walk: those of the user alone, and with those of git. */
export interface Rules {
  readonly exclusion: Exclusion;
  readonly ignored: IgnoreRules;
  readonly filter?: SyncFilter | undefined;
  /** True to bring what looks like a secret. */
  readonly secrets?: boolean | undefined;
}

export const LOOKS_SECRET = 'looks like a secret';

/**
 * Walks a directory in the order of its names, without following symlinks and without entering excluded directories.
 * Entries that cannot be sent or read are skipped and reported. Rejects with the signal's reason.
 */
export async function walk(source: Folder, rules: Rules, visitor: Visitor, signal: AbortSignal): Promise<void> {
  await new Walk(rules, visitor, signal).enter({ folder: source, path: '', ignored: rules.ignored }, 0);
}

/** Directory that is being walked, and the rules in it. */
interface Here {
  readonly folder: Folder;
  readonly path: string;
  readonly ignored: IgnoreRules;
}

type At = Pick<Found, 'folder' | 'name' | 'path' | 'info'>;

class Walk {
  readonly #rules: Rules;
  readonly #visitor: Visitor;
  readonly #signal: AbortSignal;
  readonly #pace = new Pace();

  constructor(rules: Rules, visitor: Visitor, signal: AbortSignal) {
    this.#rules = rules;
    this.#visitor = visitor;
    this.#signal = signal;
  }

  async enter({ folder, path, ignored: outer }: Here, depth: number): Promise<void> {
    // Each level keeps a descriptor open.
    if (depth > limits.pathDepthMax / 2) throw fault('PATH_INVALID', { path, reason: 'it is too deep' });
    const ignored = outer.inFolder(folder, path);
    for (const name of folder.names().sort()) {
      if (this.#pace.due()) await this.#pace.rest();
      this.#signal.throwIfAborted();
      const below = path === '' ? textFromPath(name) : `${path}/${textFromPath(name)}`;
      try {
        const info = folder.find(name);
        // It no longer exists, so it is ignored.
        if (info !== undefined) await this.#look({ folder, name, path: below, info }, ignored, depth);
      } catch (error) {
        const code = systemCode(error);
        if (code === undefined) throw error;
        if (code !== 'ENOENT') this.#visitor.skip(below, reasonOf(code));
      }
    }
  }

  async #look(at: At, ignored: IgnoreRules, depth: number): Promise<void> {
    const { path, info } = at;
    const kind = kindOf(info);
    const isFolder = kind === 'folder';
    const { exclusion, filter, secrets = false } = this.#rules;
    if (exclusion.excludes(path, isFolder)) return;
    const wanted = secrets || exclusion.wants(path, isFolder);
    const filtered = filter?.ignores(path) === true;
    const isLeftOut = filtered && !(isFolder && !filter.ignoresAllBelow(path));
    if (isLeftOut || ignored.ignores(path, isFolder)) {
      return this.#visitor.leaveOut(isFolder ? `${path}/` : path, isFolder ? await this.#filesBelow(at) : 1);
    }
    if (kind === undefined) return this.#visitor.skip(path, specialKind(info));
    if (!wanted && (isFolder ? isSecretFolder(path) : isSecretName(path))) {
      return this.#visitor.skip(isFolder ? `${path}/` : path, LOOKS_SECRET);
    }
    if (!isFolder) return await this.#visitor.visit({ ...at, kind, wanted });
    using inner = at.folder.folder(at.name);
    if (!filtered) await this.#visitor.visit({ ...at, kind, wanted });
    await this.enter({ folder: inner, path, ignored }, depth + 1);
  }

  /** Counts the files of a directory that is not entered otherwise. What cannot be read does not count. */
  async #filesBelow({ folder, name }: Pick<At, 'folder' | 'name'>): Promise<number> {
    let files = 0;
    try {
      using inner = folder.folder(name);
      for (const entry of inner.entries()) {
        if (this.#pace.due()) await this.#pace.rest();
        this.#signal.throwIfAborted();
        files += entry.isFolder ? await this.#filesBelow({ folder: inner, name: entry.name }) : 1;
      }
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
    }
    return files;
  }
}

function kindOf(info: BigIntStats): 'file' | 'folder' | 'link' | undefined {
  if (info.isFile()) return 'file';
  if (info.isDirectory()) return 'folder';
  return info.isSymbolicLink() ? 'link' : undefined;
}

function specialKind(info: BigIntStats): string {
  if (info.isFIFO()) return 'a FIFO';
  if (info.isSocket()) return 'a socket';
  return 'a device';
}

function reasonOf(code: string): string {
  if (code === 'EACCES' || code === 'EPERM') return 'not readable';
  if (code === 'ELOOP' || code === 'ENOTDIR' || code === 'ENXIO') return 'replaced while it was read';
  return `unreadable: ${code}`;
}
