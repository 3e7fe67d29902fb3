import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { LayerBuilder, type LayerEntry } from '../../layers/layer-builder.ts';
import { metadataOf } from '../../layers/build-directory.ts';
import { Tree, type TreeNode } from '../../layers/tree.ts';
import type { DirectoryStateEntry } from '../../contract/file.ts';
import { fault, isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import { NO_XATTRS } from '../../erofs/node.ts';
import { Pace } from '../../std/event-loop.ts';
import { pathFromText } from '../../std/path-text.ts';
import { sortInTurns } from '../../std/sort-in-turns.ts';
import { INJECTED } from '../../store/gc/sweep.ts';
import type { Layer } from '../../store/layers.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import type { InjectedSet } from './injected-set.ts';

/**
 * Maximum number of remembered paths over all sets, so that a set that is injected again need not be examined again.
 */
const OUTLINE_PATHS_MAX = 200_000;

/** Positions of a set's entries in the image. */
interface Outline {
  /** All ancestor directories of the entries, shortest first. */
  readonly parents: readonly string[];
  /** Entries that are directories. */
  readonly directories: readonly string[];
  /** Entries that remove what the image has. */
  readonly removals: readonly string[];
}

/**
 * Makes layers of injected files, one per set for all images in which its paths resolve to the same places.
 *
 * A layer depends on the image below it only in how the parents of its paths resolve there. The key of a layer is
 * therefore the set and these resolutions, and the layer is reused whatever else the image holds.
 */
export class Injector {
  readonly #readers: ReaderPool;
  /** Layers being built, by project and key. */
  readonly #building = new Map<string, Promise<Layer>>();
  /** Outlines by set, least recently used first. */
  readonly #outlines = new Map<string, Outline>();

  constructor(readers: ReaderPool) {
    this.#readers = readers;
  }

  /** Returns the layer that adds a set of the project to an image. The caller holds the store. */
  async layer({ store, set, lower }: Injection, signal: AbortSignal): Promise<Layer> {
    await using tree = await Tree.open(lower, this.#readers);
    const source = await sourceKey(tree, set.id, await this.#outline(set));
    const known = store.layers.findBySource(source);
    if (known !== undefined) return known;
    // Branches of one image often start together: one of them builds the layer, unless its own run is cancelled first.
    const build = { store, source, lower: tree, set };
    const running = this.#building.get(keyOf(build));
    const built = running?.catch(() => undefined) ?? this.#start(build, signal);
    return (await built) ?? this.#build(build, signal);
  }

  async #outline(set: InjectedSet): Promise<Outline> {
    const outline = this.#outlines.get(set.id) ?? (await outlineOf(await set.entries()));
    this.#outlines.delete(set.id);
    this.#outlines.set(set.id, outline);
    let paths = 0;
    for (const [id, { parents, directories, removals }] of [...this.#outlines].toReversed()) {
      paths += parents.length + directories.length + removals.length;
      if (id !== set.id && paths > OUTLINE_PATHS_MAX) this.#outlines.delete(id);
    }
    return outline;
  }

  #start(build: Build, signal: AbortSignal): Promise<Layer> {
    const key = keyOf(build);
    const building = this.#build(build, signal).finally(() => this.#building.delete(key));
    this.#building.set(key, building);
    return building;
  }

  async #build({ store, source, lower, set }: Build, signal: AbortSignal): Promise<Layer> {
    await using staged = store.layers.stage();
    await using builder = await LayerBuilder.create(staged.path, { lower });
    const pace = new Pace();
    for (const entry of await set.entries()) {
      if (pace.due()) await pace.rest();
      signal.throwIfAborted();
      if (entry.removed === true) await builder.whiteout(pathFromText(entry.path));
      if (entry.removed === true || (await isLinkedDirectory(lower, entry))) continue;
      await builder.add(pathFromText(entry.path), layerEntry(store, entry, signal));
    }
    const summary = await builder.finish();
    return await store.layers.publish(staged, { ...summary, source });
  }
}

/** Files to inject into an image. */
interface Injection {
  readonly store: ProjectStore;
  readonly set: InjectedSet;
  /** Layers of the image, bottom first. */
  readonly lower: readonly LayerFile[];
}

/** A layer to be built. */
interface Build {
  readonly store: ProjectStore;
  readonly source: string;
  readonly lower: Tree;
  readonly set: InjectedSet;
}

function keyOf({ store, source }: Build): string {
  return `${store.project} ${source}`;
}

function layerEntry(store: ProjectStore, entry: DirectoryStateEntry, signal: AbortSignal): LayerEntry {
  const file = entry.sha256 === undefined ? undefined : store.files.get(entry.sha256);
  const metadata = {
    mode: entry.mode,
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    // Fixed, so that the same set gives the same layer. Not 0, because zip cannot represent times before 1980.
    mtimeSeconds: entry.mtime ?? Math.floor(Date.parse(file?.created_at ?? '2000-01-01T00:00:00Z') / 1_000),
    mtimeNanoseconds: 0,
    xattrs: NO_XATTRS,
  };
  if (file !== undefined) {
    return { ...metadata, type: 'file', size: file.size, content: store.files.open(file.sha256, signal) };
  }
  if (entry.symlink_to !== undefined) {
    return { ...metadata, type: 'symlink', target: pathFromText(entry.symlink_to) };
  }
  return { ...metadata, type: 'directory' };
}

function isDirectory(entry: DirectoryStateEntry): boolean {
  return entry.sha256 === undefined && entry.symlink_to === undefined && entry.removed !== true;
}

/**
 * Leaves an ancestor alone that is a symlink to a directory in the image: replacing `/bin` → `usr/bin` by a directory
 * would hide every program.
 */
async function isLinkedDirectory(tree: Tree, entry: DirectoryStateEntry): Promise<boolean> {
  return isDirectory(entry) && (await linksToDirectory(tree, entry.path));
}

async function linksToDirectory(tree: Tree, path: string): Promise<boolean> {
  const below = await nodeAt(tree, path);
  return below?.type === 'symlink' && (await nodeAt(tree, path, { followLast: true }))?.type === 'directory';
}

async function outlineOf(entries: readonly DirectoryStateEntry[]): Promise<Outline> {
  const pace = new Pace();
  const parents = new Set<string>();
  for (const { path } of entries) {
    if (pace.due()) await pace.rest();
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) {
      const parent = path.slice(0, at);
      // Its own ancestors exist already.
      if (parents.has(parent)) break;
      parents.add(parent);
    }
    if (parents.size > limits.directoryStateEntriesMax) {
      throw fault('LAYER_LIMIT', {
        what: 'parent directories of injected files',
        limit: limits.directoryStateEntriesMax,
      });
    }
  }
  const directories = entries.filter(isDirectory).map(({ path }) => path);
  const removals = entries.filter(({ removed }) => removed === true).map(({ path }) => path);
  return { parents: await sortInTurns([...parents], (left, right) => (left < right ? -1 : 1)), directories, removals };
}

/** Returns a key of everything that the layer of a set depends on in this tree. */
async function sourceKey(tree: Tree, set: string, { parents, directories, removals }: Outline): Promise<string> {
  const hash = createHash('sha256').update(set);
  const pace = new Pace();
  const missing = new Set<string>();
  for (const path of parents) {
    if (pace.due()) await pace.rest();
    // Nothing exists below a missing directory.
    const node = missing.has(posix.dirname(path)) ? undefined : await nodeAt(tree, path);
    if (node === undefined) missing.add(path);
    else hash.update(JSON.stringify([path, ...(await traits(tree, node))]));
  }
  for (const path of directories) {
    if (pace.due()) await pace.rest();
    if (!missing.has(posix.dirname(path)) && (await linksToDirectory(tree, path))) hash.update(JSON.stringify([path]));
  }
  for (const path of removals) {
    if (pace.due()) await pace.rest();
    if (!missing.has(posix.dirname(path)) && (await nodeAt(tree, path)) !== undefined)
      hash.update(JSON.stringify({ path }));
  }
  return `${INJECTED}${hash.digest('hex')}`;
}

/** Returns the node at a path, or undefined when the path does not exist. */
async function nodeAt(tree: Tree, path: string, { followLast = false } = {}): Promise<TreeNode | undefined> {
  try {
    return await tree.resolve(pathFromText(path), { followLast });
  } catch (error) {
    if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY', 'SYMLINK_LOOP')) return undefined;
    throw error;
  }
}

/** Returns the target of a symlink, or the metadata of a directory that is copied into the layer. */
async function traits(tree: Tree, node: TreeNode): Promise<readonly unknown[]> {
  if (node.type === 'symlink') return [await tree.readlink(node)];
  if (node.type !== 'directory') return [node.type];
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs } = await metadataOf(tree, node);
  const named = [...xattrs].map(([name, value]) => [name, Buffer.from(value).toString('hex')]);
  return [mode, uid, gid, mtimeSeconds, mtimeNanoseconds, ...named];
}
