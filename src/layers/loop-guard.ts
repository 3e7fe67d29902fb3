import { limits } from '../contract/limits.ts';
import { damaged } from '../erofs/damage.ts';
import type { Source } from './merged-entries.ts';

/** Inode numbers of a layer file are below this: they count its slots of 32 bytes. */
const NIDS_MAX = 2 ** 32;

/**
 * Follows one descent through a tree. A directory has one name; a damaged or hostile layer may give it several, and then
 * there is no end to the paths (`a/b/a/b…`) or an exponential number of them.
 */
export class LoopGuard {
  /** Reader and inode in one number, because there may be a million. */
  readonly #seen = new Set<number>();

  /** Called once for every directory, before its entries are. Faults: STORE_CORRUPT. */
  enter(directory: { readonly sources: readonly Source[] }, path: string): void {
    if (path.length > limits.pathBytesMax) throw damaged('a path is too long');
    for (const { reader, inode } of directory.sources) {
      const key = reader.id * NIDS_MAX + inode.nid;
      if (this.#seen.has(key)) throw damaged(`directory ${inode.nid} has two names`);
      this.#seen.add(key);
    }
  }
}
