import { createHash } from 'node:crypto';
import { fault } from '../../contract/errors.ts';
import type { DirectoryStateEntry } from '../../contract/file.ts';
import { limits } from '../../contract/limits.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import { sortInTurns } from '../../std/sort-in-turns.ts';
import { pathProblem } from '../../store/states.ts';
import type { ProjectStore } from '../../store/project-store.ts';

/** Files to inject for a run. */
export interface InjectedSet {
  /** Equal for equal sets. */
  readonly id: string;
  /**
   * Yields the entries by path: the directory states, each over the earlier ones, then the files. Takes a while for
   * many.
   */
  readonly entries: () => Promise<readonly DirectoryStateEntry[]>;
}

/** Files and directory states of a project. */
export interface InjectableFiles {
  readonly files: Pick<ProjectStore['files'], 'get'>;
  readonly states: Pick<ProjectStore['states'], 'ensure' | 'entries'>;
}

/** Parses a mode as clients write it: `0644`, `644`, `0o644`, `0o100644`, or a number. Type bits are dropped. */
export function parseMode(mode: string | number | undefined): number {
  if (mode === undefined) return 0o644;
  return (typeof mode === 'number' ? mode : Number.parseInt(mode.replace(/^0o/u, ''), 8)) & 0o7777;
}

/**
 * Returns the set of a request; undefined when it injects nothing. Everything that it names exists. Rejects with
 * PATH_INVALID, UPLOAD_NOT_FOUND, DIRECTORY_STATE_NOT_FOUND or LAYER_LIMIT.
 */
export function injectedSet(
  store: InjectableFiles,
  request: Pick<InstanceSpawnRequest, 'files' | 'directory_states'>,
): InjectedSet | undefined {
  const named = request.directory_states ?? [];
  // A state that is named twice counts where it is named last.
  const states = named.filter((id, index) => named.lastIndexOf(id) === index);
  const total = states.reduce((sum, id) => sum + store.states.ensure(id).entries, 0);
  if (total > limits.directoryStateEntriesMax) {
    throw fault('LAYER_LIMIT', {
      what: 'entries in the directory states of one run',
      limit: limits.directoryStateEntriesMax,
    });
  }
  const files = Object.entries(request.files ?? {});
  if (files.length > limits.filesPerRunMax) {
    throw fault('LAYER_LIMIT', { what: 'files in one run', limit: limits.filesPerRunMax });
  }
  if (states.length === 0 && files.length === 0) return undefined;
  const entries = files.map(([path, spec]): DirectoryStateEntry => {
    const reason = pathProblem(path);
    if (reason !== undefined) throw fault('PATH_INVALID', { path, reason });
    const { sha256 } = store.files.get(spec.uuid);
    return { path, sha256, mode: parseMode(spec.mode), uid: spec.uid ?? 0, gid: spec.gid ?? 0 };
  });
  entries.sort(byPath);
  // The id of a state is a digest of its content.
  const id = createHash('sha256')
    .update(JSON.stringify([states, entries]))
    .digest('hex');
  return { id, entries: () => merged(store, states, entries) };
}

async function merged(
  store: InjectableFiles,
  states: readonly string[],
  files: readonly DirectoryStateEntry[],
): Promise<readonly DirectoryStateEntry[]> {
  const [only] = states;
  if (states.length === 1 && files.length === 0 && only !== undefined) return await store.states.entries(only);
  const latest = new Map<string, DirectoryStateEntry>();
  for (const id of states) {
    for (const entry of await store.states.entries(id)) latest.set(entry.path, entry);
  }
  for (const entry of files) latest.set(entry.path, entry);
  return await sortInTurns([...latest.values()], byPath);
}

function byPath(left: DirectoryStateEntry, right: DirectoryStateEntry): number {
  return left.path < right.path ? -1 : 1;
}
