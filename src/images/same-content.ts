import type { Tree, TreeNode } from '../archive/tree.ts';
import { defined } from '../std/assert.ts';
import { equalHeads, readHeads } from './bulk-reader.ts';

/** Two files of the same size. */
export interface SameSize {
  readonly before: TreeNode;
  readonly after: TreeNode;
}

/**
 * The pairs whose files begin with the same bytes (`HEAD_BYTES` of them). Read in the order in which the
 * contents lie in the first image's layers, where neighbours are read in one go; in the second they mostly lie alike.
 */
export async function sameHeads(from: Tree, to: Tree, pairs: readonly SameSize[]): Promise<ReadonlySet<SameSize>> {
  const ordered = pairs.toSorted((left, right) => place(left.before) - place(right.before));
  const before = readHeads(from, targets(ordered.map((pair) => ({ pair, node: pair.before }))));
  const after = readHeads(to, targets(ordered.map((pair) => ({ pair, node: pair.after }))));
  const same = new Set<SameSize>();
  try {
    for (;;) {
      const [left, right] = await Promise.all([before.next(), after.next()]);
      if (left.done === true || right.done === true) return same;
      if (equalHeads(left.value.head, right.value.head)) same.add(right.value.target.pair);
    }
  } finally {
    await Promise.all([before.return(undefined), after.return(undefined)]);
  }
}

function place({ sources }: TreeNode): number {
  return defined(sources[0], 'a node has a source').inode.contentBlock;
}

// eslint-disable-next-line typescript/require-await -- the reader takes an async iterable.
async function* targets<Target>(nodes: readonly Target[]): AsyncGenerator<Target> {
  yield* nodes;
}
