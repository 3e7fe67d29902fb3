import { limits } from '../contract/limits.ts';
import { damaged } from '../erofs/damage.ts';
import type { Source } from './merged-entries.ts';

/** Bound of inode numbers in a layer file: they count its slots of 32 bytes. */
const NIDS_MAX = 2 ** 32;

/**
 * Guard of one traversal of a tree. A directory has one name; a damaged or hostile layer may give it several, which
 * makes paths endless (`a/b/a/b…`) or exponentially many.
 */
export class LoopGuard {
  /** Reader and inode in one number, because there may be a million. */
  readonly #seen = new Set<number>();

  /** Checks a directory; called once for each, before its entries. Faults: STORE_CORRUPT. */
  enter(directory: { readonly sources: readonly Source[] }, path: string): void {
    if (path.length > limits.pathBytesMax) throw damaged('a path is too long');
    for (const { reader, inode } of directory.sources) {
      const key = reader.id * NIDS_MAX + inode.nid;
      if (this.#seen.has(key)) throw damaged(`directory ${inode.nid} has two names`);
      this.#seen.add(key);
    }
  }
}
