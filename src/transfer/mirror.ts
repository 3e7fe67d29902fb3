import type { ConTree } from '../contract/contree.ts';
import { fault, isFault } from '../contract/errors.ts';
import type { FileItem } from '../contract/inspect.ts';
import { limits } from '../contract/limits.ts';

/** Directory of an image that shall become a mirror of a local one. */
export interface Mirror {
  readonly image: string;
  readonly destination: string;
  /** Paths that the local directory has, relative to it, and whether each is a directory. */
  readonly local: ReadonlyMap<string, boolean>;
  /** Reports whether a path stays although the local directory lacks it: as with rsync, what was left out there. */
  readonly keeps: (path: string, isFolder: boolean) => boolean;
}

/**
 * Returns the absolute paths that have to be removed from the image; of a directory that goes as a whole only its own.
 * Faults: SYNC_LIMIT, and the engine's.
 */
export async function surplusOf(contree: ConTree, mirror: Mirror, signal: AbortSignal): Promise<string[]> {
  // A tag may move meanwhile: resolve it once.
  const { uuid } = await contree.images.get(mirror.image, signal);
  return (await new Comparison(contree, { ...mirror, image: uuid }, signal).surplus('')).paths;
}

/** Surplus below a directory, and whether all of the directory is. */
interface Surplus {
  readonly paths: string[];
  readonly whole: boolean;
}

class Comparison {
  readonly #contree: ConTree;
  readonly #mirror: Mirror;
  readonly #signal: AbortSignal;
  #seen = 0;

  constructor(contree: ConTree, mirror: Mirror, signal: AbortSignal) {
    this.#contree = contree;
    this.#mirror = mirror;
    this.#signal = signal;
  }

  async surplus(folder: string): Promise<Surplus> {
    const { destination, local, keeps } = this.#mirror;
    const paths: string[] = [];
    let whole = true;
    for (const { path: name, is_dir: isFolder } of await this.#list(folder)) {
      const path = folder === '' ? name : `${folder}/${name}`;
      const here = local.get(path);
      const stays = here !== undefined || keeps(path, isFolder);
      // What the set has here hides it, unless both are directories.
      const inner = isFolder && (here === true || !stays) ? await this.surplus(path) : undefined;
      if (!stays && inner?.whole !== false) paths.push(`${destination === '/' ? '' : destination}/${path}`);
      else paths.push(...(inner?.paths ?? []));
      whole &&= !stays && inner?.whole !== false;
    }
    return { paths, whole };
  }

  /** Returns the entries of a directory of the image; none where there is no directory. */
  async #list(folder: string): Promise<readonly FileItem[]> {
    const { image, destination } = this.#mirror;
    const path = `${destination}/${folder}`.replaceAll(/\/+/gu, '/');
    const entries: FileItem[] = [];
    const limit = limits.entriesListedMax;
    try {
      for (;;) {
        const page = await this.#contree.files.list(image, { path, limit, offset: entries.length }, this.#signal);
        entries.push(...page.files);
        this.#seen += page.files.length;
        if (this.#seen > limits.directoryStateEntriesMax) {
          throw fault('SYNC_LIMIT', { limit: limits.directoryStateEntriesMax, largest: `${path} of the image` });
        }
        if (page.files.length === 0 || entries.length >= (page.total ?? 0)) return entries;
      }
    } catch (error) {
      if (folder === '' && isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY')) return [];
      throw error;
    }
  }
}
