import { limits } from '../../contract/limits.ts';
import { damaged } from '../../erofs/damage.ts';
import type { TreeNode } from '../../layers/tree.ts';

/**
 * Follows one descent through a tree. A directory has one name; a damaged or hostile layer may give it several, and then
 * there is no end to the paths (`a/b/a/b…`) or an exponential number of them.
 */
export class LoopGuard {
  readonly #seen = new Set<string>();

  /** Called once for every directory, before its entries are. Faults: STORE_CORRUPT. */
  enter(directory: TreeNode, path: string): void {
    if (path.length > limits.pathBytesMax) throw damaged('a path is too long');
    for (const { reader, inode } of directory.sources) {
      const key = `${reader.id}:${inode.nid}`;
      if (this.#seen.has(key)) throw damaged(`directory ${inode.nid} has two names`);
      this.#seen.add(key);
    }
  }
}
