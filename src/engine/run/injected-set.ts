import { createHash } from 'node:crypto';
import { fault } from '../../contract/errors.ts';
import type { DirectoryStateEntry } from '../../contract/file.ts';
import { limits } from '../../contract/limits.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import { pathProblem } from '../../store/states.ts';
import type { ProjectStore } from '../../store/project-store.ts';

/** Files to inject for a run. */
export interface InjectedSet {
  /** Equal for equal sets. */
  readonly id: string;
  /** Ordered by path: the directory states, each over the ones before, then the files. Takes a while for many. */
  readonly entries: () => readonly DirectoryStateEntry[];
}

/** Octal as clients write it: `0644`, `644`, `0o644`, `0o100644`; or a number. Type bits are dropped. */
export function parseMode(mode: string | number | undefined): number {
  if (mode === undefined) return 0o644;
  return (typeof mode === 'number' ? mode : Number.parseInt(mode.replace(/^0o/u, ''), 8)) & 0o7777;
}

/**
 * The set of a request; undefined when it injects nothing. Everything it names is there. Rejects with PATH_INVALID,
 * UPLOAD_NOT_FOUND, DIRECTORY_STATE_NOT_FOUND or LAYER_LIMIT.
 */
export function injectedSet(store: ProjectStore, request: InstanceSpawnRequest): InjectedSet | undefined {
  const states = request.directory_states ?? [];
  for (const id of states) store.states.ensure(id);
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
  // A state is named by its content, so its id stands for it.
  const id = createHash('sha256')
    .update(JSON.stringify([states, entries]))
    .digest('hex');
  return { id, entries: () => merged(store, states, entries) };
}

function merged(
  store: ProjectStore,
  states: readonly string[],
  files: readonly DirectoryStateEntry[],
): readonly DirectoryStateEntry[] {
  const [only] = states;
  if (states.length === 1 && files.length === 0 && only !== undefined) return store.states.get(only).entries;
  const layered = [...states.map((id) => store.states.get(id).entries), files];
  const latest = new Map(layered.flat().map((entry) => [entry.path, entry]));
  return [...latest.values()].sort(byPath);
}

function byPath(left: DirectoryStateEntry, right: DirectoryStateEntry): number {
  return left.path < right.path ? -1 : 1;
}
