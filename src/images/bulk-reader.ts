import { BLOCK_BYTES, FLAT_INLINE } from '../erofs/format.ts';
import type { LayerReader } from '../erofs/reader.ts';
import type { Tree, TreeNode } from '../archive/tree.ts';
import { defined } from '../std/assert.ts';

/** Files up to this size are read together with others; of a larger one only this much is. */
export const HEAD_BYTES: number = 1024 * 1024;
/** A batch ends with the file that brings it to one of these. */
const BATCH_FILES = 256;
const BATCH_BYTES = 1024 * 1024;
/** Reading over a gap of this size is cheaper than reading twice. */
const GAP_BYTES = 64 * 1024;
const RANGE_BYTES_MAX = 1024 * 1024;
/** Holds the ranges of most batches; those that jump about in their layer get memory of their own. */
const ARENA_BYTES = 3 * 1024 * 1024;

/** A file on its way and, in the end, the beginning of its content. */
export interface HeadedFile<Target extends { readonly node: TreeNode }> {
  readonly target: Target;
  /** Up to `HEAD_BYTES`: what fills blocks, and what is left of it. Valid until the next file is asked for. */
  readonly head: readonly [blocks: Buffer, rest: Buffer];
}

type Head = HeadedFile<never>['head'];

const NOTHING = Buffer.alloc(0);

/** Whether two heads of the same length hold the same bytes, wherever they are cut. */
export function equalHeads(left: Head, right: Head): boolean {
  if (left[0].length !== right[0].length) return Buffer.concat(left).equals(Buffer.concat(right));
  return left[0].equals(right[0]) && left[1].equals(right[1]);
}

/** A head in one piece, which is in `scratch` (of `HEAD_BYTES`) where it is not one already. */
export function contiguous([blocks, rest]: Head, scratch: Buffer): Buffer {
  if (rest.length === 0) return blocks;
  if (blocks.length === 0) return rest;
  blocks.copy(scratch);
  rest.copy(scratch, blocks.length);
  return scratch.subarray(0, blocks.length + rest.length);
}

/** Where the blocks of a file's head lie in its layer; what is left of it is inline, next to the inode. */
interface Place {
  readonly reader: LayerReader;
  readonly start: number;
  readonly end: number;
}

interface Range extends Place {
  readonly bytes: Buffer;
  readonly filled: Promise<void>;
}

/**
 * The beginnings of many files, in the order given. A layer holds the contents of neighbours next to each other, so they are
 * read in few large pieces, one batch ahead of the consumer.
 */
export async function* readHeads<Target extends { readonly node: TreeNode }>(
  tree: Tree,
  targets: AsyncIterable<Target>,
): AsyncGenerator<HeadedFile<Target>> {
  // One is searched while the other is being filled.
  let [arena, spare] = [Buffer.allocUnsafeSlow(ARENA_BYTES), Buffer.allocUnsafeSlow(ARENA_BYTES)];
  let current: Batch<Target> | undefined;
  for await (const files of batches(targets)) {
    const next = new Batch(files, arena);
    [arena, spare] = [spare, arena];
    if (current) yield* current.heads(tree);
    current = next;
  }
  if (current) yield* current.heads(tree);
}

async function* batches<Target extends { readonly node: TreeNode }>(
  targets: AsyncIterable<Target>,
): AsyncGenerator<Target[]> {
  let batch: Target[] = [];
  let bytes = 0;
  for await (const target of targets) {
    batch.push(target);
    bytes += Math.min(target.node.size, HEAD_BYTES);
    if (batch.length < BATCH_FILES && bytes < BATCH_BYTES) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

/** Files whose blocks are being read from the moment it exists. */
class Batch<Target extends { readonly node: TreeNode }> {
  readonly #targets: readonly Target[];
  readonly #ranges: readonly Range[];

  constructor(targets: readonly Target[], arena: Buffer) {
    this.#targets = targets;
    const places = targets.map(({ node }) => placeOf(node)).filter((place) => place !== undefined);
    this.#ranges = readRanges(places, arena);
  }

  async *heads(tree: Tree): AsyncGenerator<HeadedFile<Target>> {
    for (const target of this.#targets) {
      const length = Math.min(target.node.size, HEAD_BYTES);
      const place = placeOf(target.node);
      const blocks = place === undefined ? NOTHING : await this.#blocks(place);
      const left = length - blocks.length;
      yield { target, head: [blocks, left > 0 ? await tree.read(target.node, blocks.length, left) : NOTHING] };
    }
  }

  async #blocks(place: Place): Promise<Buffer> {
    const range = this.#ranges.find(
      ({ reader, start, end }) => reader === place.reader && start <= place.start && place.end <= end,
    );
    const { start, bytes, filled } = defined(range, 'every place is in a range');
    await filled;
    return bytes.subarray(place.start - start, place.end - start);
  }
}

function placeOf({ size, sources }: TreeNode): Place | undefined {
  const { reader, inode } = defined(sources[0], 'a node has a source');
  const inline = inode.layout === FLAT_INLINE ? size % BLOCK_BYTES : 0;
  const length = Math.min(size - inline, HEAD_BYTES);
  const start = inode.contentBlock * BLOCK_BYTES;
  return length === 0 ? undefined : { reader, start, end: start + length };
}

/** Joins places that lie near each other and begins to read them into the arena. */
function readRanges(places: readonly Place[], arena: Buffer): Range[] {
  const ordered = places.toSorted((a, b) => a.reader.id - b.reader.id || a.start - b.start);
  const joined: { reader: LayerReader; start: number; end: number }[] = [];
  for (const { reader, start, end } of ordered) {
    const last = joined.at(-1);
    const near = last?.reader === reader && start - last.end <= GAP_BYTES && end - last.start <= RANGE_BYTES_MAX;
    if (last && near) last.end = Math.max(last.end, end);
    else joined.push({ reader, start, end });
  }
  let used = 0;
  return joined.map(({ reader, start, end }) => {
    const length = end - start;
    const bytes = used + length <= arena.length ? arena.subarray(used, used + length) : Buffer.allocUnsafeSlow(length);
    used += length;
    const filled = reader.readRaw(start, bytes);
    // Whoever copies from it hears of a failure; until then it must not count as unheard.
    filled.catch(() => {});
    return { reader, start, end, bytes, filled };
  });
}
