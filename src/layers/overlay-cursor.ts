import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { assert, defined } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { BuildDirectory, IMPLICIT_DIRECTORY, metadataOf } from './build-directory.ts';
import { printable, splitPath } from './path.ts';
import type { Tree, TreeNode } from './tree.ts';

/** Directory of the image with the layer on top. It need not exist yet, in the layer or at all. */
interface Place {
  readonly parent: Place | undefined;
  readonly name: ByteString;
  directory: BuildDirectory | undefined;
  /** Visible directory of the image, if any. */
  readonly lower: TreeNode | undefined;
  /** Directory of the image that is hidden by the layer. */
  readonly hidden: TreeNode | undefined;
}

/**
 * Resolver of directories in the layer being built, through symlinks of the layer and of the image, never outside of
 * it.
 */
export class OverlayCursor {
  readonly #root: BuildDirectory;
  readonly #lower: Tree | undefined;
  readonly #pace = new Pace();

  constructor(root: BuildDirectory, lower: Tree | undefined) {
    this.#root = root;
    this.#lower = lower;
  }

  /** Returns the directory in the layer; creates it and its parents where missing. */
  async enter(names: readonly ByteString[]): Promise<BuildDirectory> {
    return this.#known(names) ?? this.#materialize(await this.#resolve(names));
  }

  /** Returns the directory in the layer and below, if any; creates nothing. */
  async look(names: readonly ByteString[]): Promise<Pick<Place, 'directory' | 'lower'>> {
    const known = this.#known(names);
    return known === undefined ? this.#resolve(names) : { directory: known, lower: known.lower };
  }

  /** Resolves the common case synchronously: every part of the path is a directory of the layer. */
  #known(names: readonly ByteString[]): BuildDirectory | undefined {
    let directory = this.#root;
    for (const name of names) {
      const child = directory.children.get(name);
      if (!(child instanceof BuildDirectory)) return undefined;
      directory = child;
    }
    return directory;
  }

  async #resolve(names: readonly ByteString[]): Promise<Place> {
    const root: Place = {
      parent: undefined,
      name: '',
      directory: this.#root,
      lower: this.#root.lower,
      hidden: undefined,
    };
    const pending = names.toReversed();
    let place = root;
    let follows = 0;
    while (pending.length > 0) {
      if (this.#pace.due()) await this.#pace.rest();
      const name = defined(pending.pop(), 'not empty');
      if (name === '..') {
        place = place.parent ?? root;
        continue;
      }
      const next = await this.#step(place, name);
      if (typeof next !== 'string') {
        place = next;
        continue;
      }
      if (++follows > limits.symlinkFollowsMax) {
        throw fault('LAYER_MALFORMED', { reason: `${printable(names.join('/'))} passes through too many symlinks` });
      }
      if (next.startsWith('/')) place = root;
      pending.push(...splitPath(next).toReversed());
    }
    return place;
  }

  /** Descends by one name: returns a place, or the target of a symlink. */
  async #step(place: Place, name: ByteString): Promise<Place | ByteString> {
    const child = place.directory?.children.get(name);
    if (child instanceof BuildDirectory) {
      return { parent: place, name, directory: child, lower: child.lower, hidden: undefined };
    }
    if (child?.type === 'symlink') return child.target;
    const below = place.lower === undefined ? undefined : await this.#lower?.find(place.lower, name);
    const directory = below?.type === 'directory' ? below : undefined;
    const here = { parent: place, name, directory: undefined };
    if (child !== undefined) return { ...here, lower: undefined, hidden: directory };
    if (below?.type === 'symlink') return defined(this.#lower, 'it has a node').readlink(below);
    return { ...here, lower: directory, hidden: undefined };
  }

  async #materialize(place: Place): Promise<BuildDirectory> {
    if (place.directory !== undefined) return place.directory;
    assert(place.parent !== undefined, 'the root exists');
    const parent = await this.#materialize(place.parent);
    const metadata =
      place.lower === undefined || this.#lower === undefined
        ? IMPLICIT_DIRECTORY
        : await metadataOf(this.#lower, place.lower);
    const directory = new BuildDirectory(metadata, place.lower ?? place.hidden);
    if (place.hidden !== undefined) directory.hideLower();
    parent.put(place.name, directory);
    place.directory = directory;
    return directory;
  }
}
