import type { BigIntStats } from 'node:fs';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { textFromPath } from '../std/path-text.ts';
import type { Exclusion } from './exclusion.ts';
import { systemCode, type Folder } from './folder.ts';
import { isSecretFolder, isSecretName } from './secrets.ts';

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
}

export const LOOKS_SECRET = 'looks like a secret';

/**
 * Walks a directory in the order of its names, without following symlinks and without entering excluded directories.
 * Entries that cannot be sent or read are skipped and reported. Rejects with the signal's reason.
 */
export async function walk(source: Folder, exclusion: Exclusion, visitor: Visitor, signal: AbortSignal): Promise<void> {
  await new Walk(exclusion, visitor, signal).enter(source, '', 0);
}

class Walk {
  readonly #exclusion: Exclusion;
  readonly #visitor: Visitor;
  readonly #signal: AbortSignal;
  readonly #pace = new Pace();

  constructor(exclusion: Exclusion, visitor: Visitor, signal: AbortSignal) {
    this.#exclusion = exclusion;
    this.#visitor = visitor;
    this.#signal = signal;
  }

  async enter(folder: Folder, path: string, depth: number): Promise<void> {
    // Each level keeps a descriptor open.
    if (depth > limits.pathDepthMax / 2) throw fault('PATH_INVALID', { path, reason: 'it is too deep' });
    for (const name of folder.names().sort()) {
      if (this.#pace.due()) await this.#pace.rest();
      this.#signal.throwIfAborted();
      const below = path === '' ? textFromPath(name) : `${path}/${textFromPath(name)}`;
      try {
        const info = folder.find(name);
        // It no longer exists, so it is ignored.
        if (info !== undefined) await this.#look({ folder, name, path: below, info }, depth);
      } catch (error) {
        const code = systemCode(error);
        if (code === undefined) throw error;
        if (code !== 'ENOENT') this.#visitor.skip(below, reasonOf(code));
      }
    }
  }

  async #look(at: Pick<Found, 'folder' | 'name' | 'path' | 'info'>, depth: number): Promise<void> {
    const { path, info } = at;
    const kind = kindOf(info);
    const isFolder = kind === 'folder';
    if (this.#exclusion.excludes(path, isFolder)) return;
    if (kind === undefined) return this.#visitor.skip(path, specialKind(info));
    const wanted = this.#exclusion.wants(path, isFolder);
    if (!wanted && (isFolder ? isSecretFolder(path) : isSecretName(path))) {
      return this.#visitor.skip(isFolder ? `${path}/` : path, LOOKS_SECRET);
    }
    if (!isFolder) return await this.#visitor.visit({ ...at, kind, wanted });
    using inner = at.folder.folder(at.name);
    await this.#visitor.visit({ ...at, kind, wanted });
    await this.enter(inner, path, depth + 1);
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
