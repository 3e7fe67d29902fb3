import { posix } from 'node:path';
import type { ConTree } from '../contract/contree.ts';
import { fault } from '../contract/errors.ts';
import type { DirectoryState, DirectoryStateEntry } from '../contract/file.ts';
import type { Folder } from './folder.ts';
import { Exclusion } from './rules/exclusion.ts';
import type { IgnoreRules } from './rules/ignore-rules.ts';
import { leftOutOf } from './left-out.ts';
import { surplusOf, type Mirror } from './mirror.ts';
import type { CachedFolder } from './hash-cache.ts';
import type { Manifest, SyncReport, SyncRequest, TransferOptions } from './local-files.ts';
import { collectFolder, type LocalFile, type LocalName, type LocalSet } from './local-set.ts';
import { sendFiles } from './send-files.ts';

/** Maximum number of offers: each time the engine may have lost a file, or a file changed while it was sent. */
const OFFERS_MAX = 5;
const EARLY_FILES_MAX = 64;
const EARLY_BYTES_MAX = 4 * 1024 * 1024;

export interface SyncSource {
  readonly folder: Folder;
  readonly cache: CachedFolder;
  readonly ignored: IgnoreRules;
}

/** Creates a directory state of a local folder and sends contents that the engine does not have. */
export async function syncFolder(
  contree: ConTree,
  source: SyncSource,
  request: SyncRequest,
  { signal, onProgress }: TransferOptions,
): Promise<SyncReport> {
  const destination = normalDestination(request.destination);
  const { filter, secrets } = request;
  const rules = { exclusion: new Exclusion(request.exclude), ignored: source.ignored, filter, secrets };
  const all = await collectFolder(source.folder, {
    rules,
    cache: source.cache,
    wholeModes: request.wholeModes === true,
    signal,
    ...(onProgress && { onFile: (done: number) => onProgress({ done, what: 'scanning files' }) }),
  });
  const surplus =
    request.mirror === undefined
      ? []
      : await surplusOf(contree, { image: request.mirror, destination, ...mirrored(all, source.ignored) }, signal);
  const { since } = request;
  const manifest = since && manifestOf(all);
  const set = since === undefined ? all : changedSince(since, all);
  const gone = since === undefined ? [] : goneSince(since, all, source.ignored);
  const removed = [...surplus, ...gone.map((path) => posix.join(destination, path))];
  const uploaded = new Set<LocalFile>();
  const send = async (missing: readonly LocalFile[]): Promise<void> => {
    const [before, total] = [set.files.length + uploaded.size, set.files.length + uploaded.size + missing.length];
    const onFile = (done: number): void => onProgress?.({ done: before + done, total, what: 'uploading files' });
    for (const file of await sendFiles(contree, source.folder, missing, { signal, onFile })) uploaded.add(file);
  };
  const early = editedFiles(set);
  if (early.length > 0) await send(early);
  const isEmpty = since !== undefined && set.files.length + set.others.length + removed.length === 0;
  const state = isEmpty ? undefined : await agree(contree, { set, destination, removed, send }, signal);
  const files = set.files.filter(({ gone }) => gone !== true);
  return {
    directoryState: state?.id ?? '',
    files: files.length,
    uploaded: uploaded.size,
    reused: files.length - uploaded.size,
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    skipped: set.skipped,
    leftOut: leftOutOf(set.leftOut, files.length),
    removed: removed.length,
    ...(manifest && { manifest, leavesOut: keptBy(mirrored(all, source.ignored)) }),
  };
}

const fileMark = ({ sha256, mode }: LocalFile): string => `${sha256} ${mode.toString(8)}`;
const nameMark = ({ target, mode }: LocalName): string => (target === undefined ? mode.toString(8) : `-> ${target}`);

function manifestOf({ files, others }: LocalSet): Manifest {
  const entries = [
    ...files.filter(({ gone }) => gone !== true).map((file) => [file.path, fileMark(file)] as const),
    ...others.map((name) => [name.path, nameMark(name)] as const),
  ];
  return Object.fromEntries(entries);
}

/** Returns the part of a set that differs from a manifest. */
function changedSince(since: Manifest, { files, others, skipped, skippedPaths, leftOut }: LocalSet): LocalSet {
  return {
    files: files.filter((file) => since[file.path] !== fileMark(file)),
    others: others.filter((name) => since[name.path] !== nameMark(name)),
    skipped,
    skippedPaths,
    leftOut,
  };
}

/** Returns the paths of a manifest that the folder has no longer; not those that the rules leave out now. */
function goneSince(since: Manifest, set: LocalSet, ignored: IgnoreRules): readonly string[] {
  const mirror = mirrored(set, ignored);
  const leavesOut = keptBy(mirror);
  return Object.keys(since).filter((path) => !mirror.local.has(path) && !leavesOut(path));
}

function keptBy({ keeps }: Pick<Mirror, 'keeps'>): (path: string) => boolean {
  return (path) => keeps(path, false) || keeps(path, true);
}

/** Returns what a mirror compares an image with. */
function mirrored(set: LocalSet, ignored: IgnoreRules): Pick<Mirror, 'local' | 'keeps'> {
  const local = new Map([
    ...set.files.filter(({ gone }) => gone !== true).map(({ path }) => [path, false] as const),
    ...set.others.map(({ path, target }) => [path, target === undefined] as const),
  ]);
  const all = ignored.all();
  const keeps = (path: string, isFolder: boolean): boolean => set.skippedPaths.has(path) || all.ignores(path, isFolder);
  return { local, keeps };
}

interface Agreement {
  readonly set: LocalSet;
  readonly destination: string;
  readonly removed: readonly string[];
  /** Sends missing contents; a file that changed meanwhile is updated. */
  readonly send: (missing: readonly LocalFile[]) => Promise<void>;
}

async function agree(
  contree: ConTree,
  { set, destination, removed, send }: Agreement,
  signal: AbortSignal,
): Promise<DirectoryState> {
  let lost = '';
  const removals = removed.map((path) => ({ path, mode: 0, removed: true as const }));
  for (let offers = 0; offers < OFFERS_MAX; offers += 1) {
    const { state, missing } = await contree.uploads.offerDirectory(
      { entries: [...entriesOf(set, destination), ...removals] },
      signal,
    );
    if (state !== undefined) return state;
    const wanted = new Set(missing);
    // One file per content is enough; deleting its digest excludes further files with the same content.
    await send(set.files.filter(({ sha256, gone }) => gone !== true && wanted.delete(sha256)));
    lost = missing[0] ?? '';
  }
  throw fault('UPLOAD_NOT_FOUND', { file: lost });
}

/**
 * Returns the edited files if there are few: they are certainly missing, and sending them first saves an offer. With
 * many it is cheaper to ask the engine.
 */
function editedFiles({ files }: LocalSet): readonly LocalFile[] {
  const edited = files.filter((file) => file.edited);
  const bytes = edited.reduce((sum, { size }) => sum + size, 0);
  return edited.length <= EARLY_FILES_MAX && bytes <= EARLY_BYTES_MAX ? edited : [];
}

function entriesOf({ files, others }: LocalSet, destination: string): DirectoryStateEntry[] {
  const prefix = destination === '/' ? '/' : `${destination}/`;
  const entries: DirectoryStateEntry[] = others.map(({ path, mode, target }) => ({
    path: prefix + path,
    ...(target !== undefined && { symlink_to: target }),
    mode,
  }));
  for (const { path, sha256, mode, mtime, gone } of files) {
    if (gone !== true) entries.push({ path: prefix + path, sha256, mode, mtime });
  }
  return entries;
}

function normalDestination(destination: string): string {
  if (!destination.startsWith('/')) throw fault('PATH_INVALID', { path: destination, reason: 'it is not absolute' });
  if (destination.split('/').includes('..')) {
    throw fault('PATH_INVALID', { path: destination, reason: 'it contains ".."' });
  }
  const normal = posix.normalize(destination);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}
