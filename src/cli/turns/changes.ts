import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import type { DiffEntry } from '../../contract/inspect.ts';
import { hashFile } from '../../std/files.ts';
import type { Manifest, SyncReport } from '../../transfer/local-files.ts';
import type { ProjectState } from './project.ts';

/** Most files that are compared at a time. */
const CHANGES_MAX = 10_000;
const ANY_EXECUTE = 0o111;
/** Beginning of the text of a symlink in a manifest, before its target. */
const LINK_MARK = '-> ';
/** Text of a directory in a manifest. */
const FOLDER_MARK = /^[0-7]+$/u;

/** A file of the user's folder that commands of an agent have changed. */
export interface Change {
  /** Path below the folder. */
  readonly path: string;
  readonly kind: 'added' | 'modified' | 'removed';
  readonly executable: boolean;
  /** Target of a symlink that it is now. */
  readonly target?: string;
  /** True when the user's folder has a symlink there. */
  readonly replacesLink?: boolean;
}

/** Changes that can be applied, and those that cannot: path and reason. */
export interface Changes {
  readonly changes: readonly Change[];
  readonly refused: readonly string[];
}

/** The user's folder: as it was when it was last copied into the image, and as it is now. */
export interface Folders {
  readonly known: Manifest;
  readonly now: Pick<SyncReport, 'manifest' | 'leavesOut'>;
  /** Folder of this machine into which new contents are written, at their paths. */
  readonly staging: string;
  /** Reports whether a symlink at that path below the folder would stay in the folder. */
  readonly keepsLink: (path: string, target: string) => boolean;
}

/**
 * Returns the differences between the user's folder and the current image of a project. A file that the user has changed
 * since it was last copied is refused: the image does not have that change. Faults: ARGUMENT_INVALID for too many.
 */
export async function changesOf(
  contree: ConTree,
  { folder, applied, current }: ProjectState,
  folders: Folders,
  signal: AbortSignal,
): Promise<Changes> {
  const found: { changes: Change[]; refused: string[] } = { changes: [], refused: [] };
  if (applied === '') return found;
  const query = { to: current.image, path: folder, limit: CHANGES_MAX };
  const { entries, truncated } = await contree.images.diff(applied, query, signal);
  if (truncated)
    throw fault('ARGUMENT_INVALID', { reason: `more than ${CHANGES_MAX} files of ${folder} have changed` });
  for (const entry of entries) {
    const path = pathBelow(folder, entry.path);
    if (path === undefined || entry.type === 'directory' || folders.now.leavesOut?.(path) === true) continue;
    const stage = async (): Promise<string> => staged(contree, { image: current.image, entry, path, folders }, signal);
    const linked = async (): Promise<string> =>
      (await contree.files.stat(current.image, { path: entry.path }, signal)).symlink_to;
    const change = await changeOf(entry, path, folders, entry.type === 'symlink' ? { linked } : { stage });
    if (typeof change === 'string') found.refused.push(`${path} (${change})`);
    else if (change !== undefined) found.changes.push(change);
  }
  return found;
}

/** Content of a changed entry: the digest of a file, which is staged, or the target of a symlink. */
type Content = { readonly stage: () => Promise<string> } | { readonly linked: () => Promise<string> };

/** Returns the change of an entry, undefined when the folder has it already, or the reason for which it is refused. */
async function changeOf(
  entry: DiffEntry,
  path: string,
  { known, now, keepsLink }: Folders,
  content: Content,
): Promise<Change | string | undefined> {
  if (entry.type !== 'file' && entry.type !== 'symlink') return `it is a ${entry.type}`;
  const here = now.manifest?.[path];
  const changedHere = here !== known[path];
  const replacesLink = here?.startsWith(LINK_MARK) === true;
  const was = { path, executable: false, ...(replacesLink && { replacesLink }) };
  if (entry.change === 'removed') {
    if (here === undefined) return undefined;
    return changedHere ? 'you have changed it meanwhile' : { ...was, kind: 'removed' };
  }
  if (here !== undefined && FOLDER_MARK.test(here)) return 'a directory is there';
  const kind = here === undefined ? 'added' : 'modified';
  if ('linked' in content) {
    const target = await content.linked();
    if (here === `${LINK_MARK}${target}`) return undefined;
    if (changedHere) return 'you have changed it meanwhile';
    return keepsLink(path, target) ? { ...was, kind, target } : `it is a symlink to ${target}`;
  }
  const executable = ((entry.mode ?? 0) & ANY_EXECUTE) !== 0;
  const [digest, mode = '0'] = here?.split(' ') ?? [];
  const wasExecutable = (Number.parseInt(mode, 8) & ANY_EXECUTE) !== 0;
  if (digest === (await content.stage()) && executable === wasExecutable) return undefined;
  return changedHere ? 'you have changed it meanwhile' : { ...was, kind, executable };
}

interface Staged {
  readonly image: string;
  readonly entry: DiffEntry;
  readonly path: string;
  readonly folders: Folders;
}

/** Writes the content of a file of the image into the staging folder and returns its digest. */
async function staged(
  contree: ConTree,
  { image, entry, path, folders: { staging } }: Staged,
  signal: AbortSignal,
): Promise<string> {
  const { body } = await contree.files.read(image, { path: entry.path }, signal);
  const target = join(staging, path);
  await mkdir(dirname(target), { recursive: true });
  await pipeline(body, createWriteStream(target, { mode: 0o600 }), { signal });
  return await hashFile(target, signal);
}

/** Returns a path of an image relative to a folder; undefined for one that is not below it, or not normal. */
function pathBelow(folder: string, path: string): string | undefined {
  return path.startsWith(`${folder}/`) && normalize(path) === path ? path.slice(folder.length + 1) : undefined;
}
