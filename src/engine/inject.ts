import { createHash } from 'node:crypto';
import { LayerBuilder, type LayerEntry } from '../archive/layer-builder.ts';
import { metadataOf } from '../archive/build-directory.ts';
import { Tree, type TreeNode } from '../archive/tree.ts';
import type { DirectoryStateEntry } from '../contract/file.ts';
import { fault, isFault } from '../contract/errors.ts';
import type { LayerFile } from '../contract/layer.ts';
import { limits } from '../contract/limits.ts';
import type { InstanceSpawnRequest } from '../contract/run.ts';
import type { ReaderPool } from '../erofs/reader-pool.ts';
import { NO_XATTRS } from '../erofs/node.ts';
import { pathFromText } from '../std/path-text.ts';
import { INJECTED } from '../store/gc.ts';
import type { Layer } from '../store/layers.ts';
import { pathProblem } from '../store/states.ts';
import type { Store } from '../store/store.ts';

/** Octal as clients write it: `0644`, `644`, `0o644`, `0o100644`; or a number. Type bits are dropped. */
export function parseMode(mode: string | number | undefined): number {
  if (mode === undefined) return 0o644;
  return (typeof mode === 'number' ? mode : Number.parseInt(mode.replace(/^0o/u, ''), 8)) & 0o7777;
}

/**
 * What a run wants put into its image, ordered by path: its directory states, each over the ones before, then its
 * files. Rejects with PATH_INVALID, UPLOAD_NOT_FOUND or DIRECTORY_STATE_NOT_FOUND.
 */
export function injectedEntries(store: Store, request: InstanceSpawnRequest): DirectoryStateEntry[] {
  const byPath = new Map<string, DirectoryStateEntry>();
  for (const id of request.directory_states ?? []) {
    for (const entry of store.states.get(id).entries) byPath.set(entry.path, entry);
  }
  const files = Object.entries(request.files ?? {});
  if (files.length > limits.filesPerRunMax) {
    throw fault('LAYER_LIMIT', { what: 'files in one run', limit: limits.filesPerRunMax });
  }
  for (const [path, spec] of files) {
    const reason = pathProblem(path);
    if (reason !== undefined) throw fault('PATH_INVALID', { path, reason });
    const { sha256 } = store.files.get(spec.uuid);
    byPath.set(path, { path, sha256, mode: parseMode(spec.mode), uid: spec.uid ?? 0, gid: spec.gid ?? 0 });
  }
  return [...byPath.values()].sort((left, right) => (left.path < right.path ? -1 : 1));
}

/**
 * Makes layers of files to be injected, each set once for all images in which its paths lead to the same places.
 *
 * A layer depends on the image below only in how the parents of its paths resolve there, so the key of a layer is the
 * set and that; whatever else the image holds, the layer is found again.
 */
export class Injector {
  readonly #store: Store;
  readonly #readers: ReaderPool;
  readonly #building = new Map<string, Promise<Layer>>();

  constructor(store: Store, readers: ReaderPool) {
    this.#store = store;
    this.#readers = readers;
  }

  /** The layer that puts the entries on top of an image. Hold the store meanwhile. */
  async layer(
    entries: readonly DirectoryStateEntry[],
    lower: readonly LayerFile[],
    signal: AbortSignal,
  ): Promise<Layer> {
    await using tree = await Tree.open(lower, this.#readers);
    const wanted = await withoutLinkedDirectories(tree, entries);
    const source = await sourceKey(tree, wanted);
    const known = this.#store.layers.findBySource(source);
    if (known !== undefined) return known;
    // Branches of one run often start together; one of them builds, unless its own run is cancelled first.
    const running = this.#building.get(source);
    const built = running?.catch(() => undefined) ?? this.#start(source, tree, wanted, signal);
    return (await built) ?? this.#build(source, tree, wanted, signal);
  }

  #start(source: string, tree: Tree, entries: readonly DirectoryStateEntry[], signal: AbortSignal): Promise<Layer> {
    const building = this.#build(source, tree, entries, signal).finally(() => this.#building.delete(source));
    this.#building.set(source, building);
    return building;
  }

  async #build(
    source: string,
    lower: Tree,
    entries: readonly DirectoryStateEntry[],
    signal: AbortSignal,
  ): Promise<Layer> {
    await using staged = this.#store.layers.stage();
    await using builder = await LayerBuilder.create(staged.path, { lower });
    for (const entry of entries) {
      signal.throwIfAborted();
      await builder.add(pathFromText(entry.path), this.#layerEntry(entry, signal));
    }
    const summary = await builder.finish();
    return await this.#store.layers.publish(staged, { ...summary, source });
  }

  #layerEntry(entry: DirectoryStateEntry, signal: AbortSignal): LayerEntry {
    const file = entry.sha256 === undefined ? undefined : this.#store.files.get(entry.sha256);
    const metadata = {
      mode: entry.mode,
      uid: entry.uid ?? 0,
      gid: entry.gid ?? 0,
      // Not "now": the same set must give the same layer. Not 0 either: zip knows no time before 1980.
      mtimeSeconds: entry.mtime ?? Math.floor(Date.parse(file?.created_at ?? '2000-01-01T00:00:00Z') / 1_000),
      mtimeNanoseconds: 0,
      xattrs: NO_XATTRS,
    };
    if (file !== undefined) {
      return { ...metadata, type: 'file', size: file.size, content: this.#store.files.open(file.sha256, signal) };
    }
    if (entry.symlink_to !== undefined) {
      return { ...metadata, type: 'symlink', target: pathFromText(entry.symlink_to) };
    }
    return { ...metadata, type: 'directory' };
  }
}

/** A directory that the image has as a link to one is left as it is: putting `/bin` over `/bin` → `usr/bin` would lose a shell. */
async function withoutLinkedDirectories(
  tree: Tree,
  entries: readonly DirectoryStateEntry[],
): Promise<readonly DirectoryStateEntry[]> {
  const kept: DirectoryStateEntry[] = [];
  for (const entry of entries) {
    const isDirectory = entry.sha256 === undefined && entry.symlink_to === undefined;
    const below = isDirectory ? await nodeAt(tree, entry.path, false) : undefined;
    const linked = below?.type === 'symlink' ? await nodeAt(tree, entry.path, true) : undefined;
    if (linked?.type !== 'directory') kept.push(entry);
  }
  return kept;
}

/** Everything a layer of these entries on top of this tree depends on, in one name. */
async function sourceKey(tree: Tree, entries: readonly DirectoryStateEntry[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(entries));
  const seen = new Map<string, TreeNode | undefined>([['', tree.root]]);
  for (const { path } of entries) {
    let parent = '';
    for (const name of path.split('/').slice(1, -1)) {
      const above = seen.get(parent);
      parent = `${parent}/${name}`;
      if (seen.has(parent)) continue;
      const node = above === undefined ? undefined : await nodeAt(tree, parent, false);
      seen.set(parent, node);
      if (node !== undefined) hash.update(JSON.stringify([parent, ...(await traits(tree, node))]));
    }
  }
  return `${INJECTED}${hash.digest('hex')}`;
}

/** What is at a path; undefined when nothing is, or nothing that leads on. */
async function nodeAt(tree: Tree, path: string, followLast: boolean): Promise<TreeNode | undefined> {
  try {
    return await tree.resolve(pathFromText(path), { followLast });
  } catch (error) {
    if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY', 'SYMLINK_LOOP')) return undefined;
    throw error;
  }
}

/** Where a symlink leads, or what of a directory is copied into the layer. */
async function traits(tree: Tree, node: TreeNode): Promise<readonly unknown[]> {
  if (node.type === 'symlink') return [await tree.readlink(node)];
  if (node.type !== 'directory') return [node.type];
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs } = await metadataOf(tree, node);
  const named = [...xattrs].map(([name, value]) => [name, Buffer.from(value).toString('hex')]);
  return [mode, uid, gid, mtimeSeconds, mtimeNanoseconds, ...named];
}
