import type { TreeNode } from '../../layers/tree.ts';
import { defined } from '../../std/assert.ts';
import {
  stretchBatches,
  type BulkReader,
  type StretchContent,
  equalContents,
  readAhead,
  STRETCH_BYTES,
  type Stretch,
} from './bulk-reader.ts';

/** Two files of the same size. */
export interface SameSize {
  readonly before: TreeNode;
  readonly after: TreeNode;
}

/** Stretch of both files of a pair; `node` is the older file. */
interface PairStretch<Pair> extends Stretch {
  readonly pair: Pair;
}

interface ReadPairs<Pair> {
  readonly stretches: readonly PairStretch<Pair>[];
  readonly before: readonly StretchContent[];
  readonly after: readonly StretchContent[];
}

/** Readers of the older and of the newer image, for one comparison after the other: their buffers are large. */
export type SideReaders = readonly [before: BulkReader, after: BulkReader];

/**
 * Returns the pairs whose contents differ. They are read in the order of the contents in the first image's layers,
 * where neighbours are read together; the order in the second is mostly the same. Reading a pair stops at the first
 * difference.
 */
export async function differing<Pair extends SameSize>(
  pairs: readonly Pair[],
  [before, after]: SideReaders,
  signal?: AbortSignal,
): Promise<ReadonlySet<Pair>> {
  const different = new Set<Pair>();
  const readBoth = async (stretches: readonly PairStretch<Pair>[]): Promise<ReadPairs<Pair>> => {
    const others = stretches.map(({ pair, offset }) => ({ node: pair.after, offset }));
    const [left, right] = await Promise.all([before.read(stretches), after.read(others)]);
    return { stretches, before: left, after: right };
  };
  for await (const read of readAhead(stretchBatches(stretchesOf(pairs, different)), readBoth)) {
    signal?.throwIfAborted();
    for (const [index, { pair }] of read.stretches.entries()) {
      const left = defined(read.before[index], 'every stretch was read');
      const right = defined(read.after[index], 'every stretch was read');
      if (!equalContents(left, right)) different.add(pair);
    }
  }
  return different;
}

function* stretchesOf<Pair extends SameSize>(
  pairs: readonly Pair[],
  different: ReadonlySet<Pair>,
): Generator<PairStretch<Pair>> {
  for (const pair of pairs.toSorted((left, right) => place(left.before) - place(right.before))) {
    const node = pair.before;
    for (let offset = 0; offset < node.size && !different.has(pair); offset += STRETCH_BYTES) {
      yield { pair, node, offset };
    }
  }
}

function place({ sources }: TreeNode): number {
  return defined(sources[0], 'a node has a source').inode.contentBlock;
}
