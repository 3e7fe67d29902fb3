import { lstatSync, mkdirSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join, normalize, resolve } from 'node:path';
import { fault, type ContreeError } from '../contract/errors.ts';
import type { ByteString } from '../std/bytes.ts';
import { textFromPath } from '../std/path-text.ts';
import { Folder, namesOf, openBelow, systemCode } from './folder.ts';

/** Name in an open folder. */
export interface Place extends Disposable {
  readonly folder: Folder;
  /** Name in the folder; empty when the path is an allowed folder itself. */
  readonly name: ByteString;
  /** Path of the place, for messages. */
  readonly path: string;
  /** The same relative to the allowed folder; empty for the folder itself. */
  readonly below: string;
}

/**
 * Local folders that transfers may access. A path is first resolved, symlinks included, and the result must be below an
 * allowed folder; then it is walked name by name from that folder without following symlinks. So links inside the
 * folders work, and links out of them or swapped in meanwhile are refused.
 */
export class Roots {
  readonly #given: readonly string[];

  /** Creates the set from absolute paths, which need not exist yet. */
  constructor(folders: readonly string[]) {
    this.#given = folders.map((folder) => expand(folder));
  }

  /**
   * Opens the folder that contains a path's last name; the name itself may be missing and is not followed.
   * Faults: PATH_OUTSIDE_ROOT, LOCAL_FILE_NOT_FOUND when the folder does not exist, ARGUMENT_INVALID.
   */
  place(given: string): Place {
    const path = expand(given);
    this.#check(path, given);
    return this.#open(join(this.#resolve(dirname(path), given), basename(path)), given);
  }

  /** Opens the place of a path's target: like `place`, but follows a symlink at the end. */
  placeOfTarget(given: string): Place {
    const path = expand(given);
    this.#check(path, given);
    return this.#open(this.#resolve(path, given), given);
  }

  /**
   * Creates the folders that are missing on the way to a path, and the path itself if it ends in a slash. Faults:
   * PATH_OUTSIDE_ROOT, ARGUMENT_INVALID; errors of the system where a folder cannot be made.
   */
  makeFolders(given: string): void {
    const path = expand(given);
    this.#check(path, given);
    const folder = given.endsWith('/') ? path : dirname(path);
    if (realpath(folder) !== undefined) return;
    const { nearest, missing } = nearestOf(folder);
    using above = this.placeOfTarget(nearest);
    let current = above.folder.folder(above.name === '' ? '.' : above.name);
    for (const name of missing.flatMap(namesOf)) {
      using parent = current;
      makeFolder(parent, name);
      current = parent.folder(name);
    }
    current[Symbol.dispose]();
  }

  /** A path as it was given, links and all, relative to the allowed folder it names; as it is when it names none. */
  belowGiven(given: string): string {
    const path = expand(given);
    const roots = [...this.#given, ...this.#realRoots()];
    const root = roots.filter((folder) => isBelow(path, folder)).sort((left, right) => right.length - left.length)[0];
    return path.slice(root === undefined || root === '/' ? 1 : root.length + 1);
  }

  /** Reports whether a symlink at a path would stay in its allowed folder, wherever the links on its way lead now. */
  keeps(path: string, target: string): boolean {
    const above = nearestOf(expand(path));
    const folder = join(realpath(above.nearest) ?? '/', ...above.missing.slice(0, -1));
    const root = this.#rootOf(folder);
    const names = target.split('/').filter((name) => name !== '' && name !== '.');
    let up = 0;
    while (names[up] === '..') up += 1;
    // After a name it may not go up: that name may be a link.
    if (root === undefined || target === '' || target.includes('\0') || names.includes('..', up)) return false;
    const leads = resolve(folder, target);
    if (!isBelow(leads, root)) return false;
    const real = realpath(leads);
    if (real !== undefined) return isBelow(real, root);
    const { nearest, missing } = nearestOf(leads);
    // A link to what does not exist is not followed to see where.
    const isLink = lstatSync(join(nearest, missing[0] ?? ''), { throwIfNoEntry: false }) !== undefined;
    return !isLink && isBelow(realpath(nearest) ?? '/', root);
  }

  #check(path: string, given: string): void {
    if (!isAbsolute(path)) throw fault('ARGUMENT_INVALID', { reason: `path ${JSON.stringify(given)} is not absolute` });
    if (path.includes('\0')) throw fault('ARGUMENT_INVALID', { reason: 'the path contains a NUL byte' });
  }

  #open(real: string, given: string): Place {
    const root = this.#rootOf(real);
    if (root === undefined) throw this.#outside(given);
    const names = namesOf(real.slice(root.length));
    const name = names.pop() ?? '';
    try {
      using top = Folder.open(root);
      const folder = openBelow(top, names);
      const below = textFromPath([...names, name].join('/'));
      return { folder, name, path: real, below, [Symbol.dispose]: () => folder[Symbol.dispose]() };
    } catch (error) {
      const above = dirname(real);
      if (systemCode(error) === 'ENOTDIR' && lstatSync(above, { throwIfNoEntry: false })?.isFile() === true) {
        throw fault('ARGUMENT_INVALID', { reason: `${JSON.stringify(above)} is a file, not a directory` });
      }
      // It existed a moment ago, without symlinks: someone is changing it concurrently.
      if (systemCode(error) !== undefined) throw this.#outside(given, error);
      throw error;
    }
  }

  /** Returns the longest allowed folder, as a real path, that contains the real path. */
  #rootOf(path: string): string | undefined {
    return this.#realRoots()
      .filter((root) => isBelow(path, root))
      .sort((left, right) => right.length - left.length)[0];
  }

  #realRoots(): string[] {
    return this.#given.flatMap((folder) => realpath(folder) ?? []);
  }

  #resolve(path: string, given: string): string {
    const real = realpath(path);
    if (real !== undefined) return real;
    // The existence of a file is revealed only inside the allowed folders.
    const { nearest } = nearestOf(path);
    if (this.#rootOf(realpath(nearest) ?? '/') === undefined) throw this.#outside(given);
    throw fault('LOCAL_FILE_NOT_FOUND', { path: given, nearest });
  }

  #outside(given: string, cause?: unknown): ContreeError {
    const path = expand(given) === given ? given : `${given} (${expand(given)})`;
    return fault('PATH_OUTSIDE_ROOT', { path, roots: this.#given.join(', ') }, { cause });
  }
}

/** Makes a folder; one that is there already is as good. */
function makeFolder(parent: Folder, name: ByteString): void {
  try {
    mkdirSync(parent.at(name));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

function expand(path: string): string {
  const whole = path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path;
  const normal = normalize(whole);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/** Returns the nearest path above that exists, and the names below it that do not. */
function nearestOf(path: string): { readonly nearest: string; readonly missing: readonly string[] } {
  const missing = [basename(path)];
  let nearest = dirname(path);
  for (; realpath(nearest) === undefined; nearest = dirname(nearest)) missing.unshift(basename(nearest));
  return { nearest, missing };
}

function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(root === '/' ? '/' : `${root}/`);
}

/** Returns the real path, or undefined when it does not exist or is not accessible. */
function realpath(path: string): string | undefined {
  try {
    return realpathSync.native(path);
  } catch {
    return undefined;
  }
}
