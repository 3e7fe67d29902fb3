import type { TreeNode } from '../../layers/tree.ts';
import type { Extent, LayerReader } from '../../erofs/reader.ts';
import { defined } from '../../std/assert.ts';

/** Contents are read in stretches of at most this size. */
export const STRETCH_BYTES: number = 1024 * 1024;
/** A batch ends with the stretch that brings it to one of these. */
const BATCH_STRETCHES = 256;
const BATCH_BYTES = 1024 * 1024;
/** Reading over a gap of this size is cheaper than reading twice. */
const GAP_BYTES = 64 * 1024;
const RANGE_BYTES_MAX = 1024 * 1024;
/** Holds the ranges of most batches; those that jump about in their layer get memory of their own. */
const ARENA_BYTES = 3 * 1024 * 1024;

/** Up to `STRETCH_BYTES` of a regular file's content. */
export interface Stretch {
  readonly node: TreeNode;
  /** Where it begins: a multiple of `STRETCH_BYTES` below the file's size. */
  readonly offset: number;
}

/** What was read of a stretch: what fills blocks, and what is left of it. */
export type Content = readonly [blocks: Buffer, rest: Buffer];

const NOTHING = Buffer.alloc(0);

/** Whether two contents of the same length hold the same bytes, wherever they are cut. */
export function equalContents(left: Content, right: Content): boolean {
  if (left[0].length !== right[0].length) return Buffer.concat(left).equals(Buffer.concat(right));
  return left[0].equals(right[0]) && left[1].equals(right[1]);
}

/** A content in one piece, which is in `scratch` (of `STRETCH_BYTES`) where it is not one already. */
export function contiguous([blocks, rest]: Content, scratch: Buffer): Buffer {
  if (rest.length === 0) return blocks;
  if (blocks.length === 0) return rest;
  blocks.copy(scratch);
  rest.copy(scratch, blocks.length);
  return scratch.subarray(0, blocks.length + rest.length);
}

/** The same stretches, as many together as are best read together. */
export async function* batched<Of extends Stretch>(
  stretches: AsyncIterable<Of> | Iterable<Of>,
): AsyncGenerator<readonly Of[]> {
  let batch: Of[] = [];
  let bytes = 0;
  for await (const stretch of stretches) {
    batch.push(stretch);
    bytes += Math.min(stretch.node.size - stretch.offset, STRETCH_BYTES);
    if (batch.length < BATCH_STRETCHES && bytes < BATCH_BYTES) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

/** What `read` makes of each item, in order; the next is being read while the consumer works on one. */
export async function* readAhead<Item, Result>(
  items: AsyncIterable<Item>,
  read: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  let current: Promise<Result> | undefined;
  for await (const item of items) {
    const next = read(item);
    // Whoever waits for it hears of a failure; until then it must not count as unheard.
    next.catch(() => {});
    if (current) yield await current;
    current = next;
  }
  if (current) yield await current;
}

/**
 * Reads many files at once. A layer holds the contents of neighbours next to each other, so what is asked for together is
 * read in few large pieces.
 */
export class BulkReader {
  // What was read last can be worked on while more is being read.
  #arenas: readonly [next: Buffer, last: Buffer] = [
    Buffer.allocUnsafeSlow(ARENA_BYTES),
    Buffer.allocUnsafeSlow(ARENA_BYTES),
  ];

  /** The contents, in the order of the stretches; valid until the second next read begins. */
  async read(stretches: readonly Stretch[]): Promise<Content[]> {
    const [arena, last] = this.#arenas;
    this.#arenas = [last, arena];
    const contents = stretches.map(piecesOf);
    await readPieces(contents.flat(), arena);
    return contents.map(([blocks, rest]) => [blocks.bytes, rest.bytes]);
  }
}

/** A piece of a stretch, where it lies in its layer. */
interface Piece extends Extent {
  readonly reader: LayerReader;
  bytes: Buffer;
}

function piecesOf({ node, offset }: Stretch): readonly [blocks: Piece, rest: Piece] {
  const { reader, inode } = defined(node.sources[0], 'a node has a source');
  const { blocks, rest } = reader.extents(inode);
  const start = Math.min(blocks.start + offset, blocks.end);
  const end = Math.min(start + STRETCH_BYTES, blocks.end);
  // What is left is less than a block, so it ends the stretch in which the blocks end unless they fill it.
  const restEnd = end - start < STRETCH_BYTES ? rest.end : rest.start;
  return [
    { reader, start, end, bytes: NOTHING },
    { reader, start: rest.start, end: restEnd, bytes: NOTHING },
  ];
}

interface Range extends Extent {
  readonly reader: LayerReader;
  end: number;
  readonly pieces: Piece[];
}

/** Joins pieces that lie near each other and reads them, into the arena while it has room. */
async function readPieces(pieces: readonly Piece[], arena: Buffer): Promise<void> {
  let used = 0;
  const reads = rangesOf(pieces).map(async (range) => {
    const length = range.end - range.start;
    const bytes = used + length <= arena.length ? arena.subarray(used, used + length) : Buffer.allocUnsafeSlow(length);
    used += length;
    for (const piece of range.pieces) {
      piece.bytes = bytes.subarray(piece.start - range.start, piece.end - range.start);
    }
    await range.reader.readRaw(range.start, bytes);
  });
  await Promise.all(reads);
}

function rangesOf(pieces: readonly Piece[]): Range[] {
  const ordered = pieces
    .filter(({ start, end }) => end > start)
    .toSorted((a, b) => a.reader.id - b.reader.id || a.start - b.start);
  const ranges: Range[] = [];
  for (const piece of ordered) {
    const { reader, start, end } = piece;
    const last = ranges.at(-1);
    const near = last?.reader === reader && start - last.end <= GAP_BYTES && end - last.start <= RANGE_BYTES_MAX;
    if (!last || !near) {
      ranges.push({ reader, start, end, pieces: [piece] });
      continue;
    }
    last.end = Math.max(last.end, end);
    last.pieces.push(piece);
  }
  return ranges;
}
