import type { TreeNode } from '../../layers/tree.ts';
import type { LayerRange, LayerReader } from '../../erofs/reader.ts';
import { defined } from '../../std/assert.ts';

/** Largest piece of content that is read at once. */
export const STRETCH_BYTES: number = 1024 * 1024;
/** Limits of a batch; it ends with the stretch that reaches one of them. */
const BATCH_STRETCHES = 256;
const BATCH_BYTES = 1024 * 1024;
/** Reading over a gap of this size is cheaper than reading twice. */
const GAP_BYTES = 64 * 1024;
const RANGE_BYTES_MAX = 1024 * 1024;
/** Size of the arena, enough for most batches; batches scattered over their layer get extra memory. */
const ARENA_BYTES = 3 * 1024 * 1024;

/** Stretch of up to `STRETCH_BYTES` of a regular file's content. */
export interface Stretch {
  readonly node: TreeNode;
  /** Offset of its start: a multiple of `STRETCH_BYTES` below the file's size. */
  readonly offset: number;
}

/** Bytes read of a stretch: its full blocks and the rest. */
export type StretchContent = readonly [blocks: Buffer, rest: Buffer];

const NOTHING = Buffer.alloc(0);

/** Reports whether two contents of the same length have the same bytes, however they are split. */
export function equalContents(left: StretchContent, right: StretchContent): boolean {
  if (left[0].length !== right[0].length) return Buffer.concat(left).equals(Buffer.concat(right));
  return left[0].equals(right[0]) && left[1].equals(right[1]);
}

/** Returns a content in one piece, copied to `scratch` (of `STRETCH_BYTES`) unless it already is one. */
export function contiguous([blocks, rest]: StretchContent, scratch: Buffer): Buffer {
  if (rest.length === 0) return blocks;
  if (blocks.length === 0) return rest;
  blocks.copy(scratch);
  rest.copy(scratch, blocks.length);
  return scratch.subarray(0, blocks.length + rest.length);
}

/** Groups stretches into batches that are best read together. */
export async function* stretchBatches<Of extends Stretch>(
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

/** Yields the result of `read` for each item, in order; the next item is read while the consumer works on one. */
export async function* readAhead<Item, Result>(
  items: AsyncIterable<Item>,
  read: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  let current: Promise<Result> | undefined;
  for await (const item of items) {
    const next = read(item);
    // A failure is reported when it is awaited; until then it must not count as unhandled.
    next.catch(() => {});
    if (current) yield await current;
    current = next;
  }
  if (current) yield await current;
}

/** Arenas that no reader uses: the collector counts memory like this, so getting it anew makes it collect more often. */
const spare: Buffer[] = [];
/** Those of one comparison. */
const SPARE_MAX = 4;

function takeArena(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(ARENA_BYTES);
}

/**
 * Reader of many files at once. A layer stores the contents of neighbouring files next to each other, so a batch is
 * read in few large pieces. Contents are invalid once it is disposed of.
 */
export class BulkReader implements AsyncDisposable {
  // The last batch can be processed while the next is being read.
  #arenas: readonly [next: Buffer, last: Buffer] = [takeArena(), takeArena()];
  #reading: Promise<unknown> = Promise.resolve();

  /** Reads the contents, in the order of the stretches; valid until the next but one read begins. */
  async read(stretches: readonly Stretch[]): Promise<StretchContent[]> {
    const [arena, last] = this.#arenas;
    this.#arenas = [last, arena];
    const contents = stretches.map(piecesOf);
    const reading = readPieces(contents.flat(), arena);
    this.#reading = Promise.allSettled([this.#reading, reading]);
    await reading;
    return contents.map(([blocks, rest]) => [blocks.bytes, rest.bytes]);
  }

  /** Waits for reads that are under way, because the next reader gets the memory that they fill. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reading;
    spare.push(...this.#arenas.slice(0, SPARE_MAX - spare.length));
  }
}

/** Piece of a stretch, with its position in the layer. */
interface Piece extends LayerRange {
  readonly reader: LayerReader;
  bytes: Buffer;
}

function piecesOf({ node, offset }: Stretch): readonly [blocks: Piece, rest: Piece] {
  const { reader, inode } = defined(node.sources[0], 'a node has a source');
  const { blocks, rest } = reader.extents(inode);
  const start = Math.min(blocks.start + offset, blocks.end);
  const end = Math.min(start + STRETCH_BYTES, blocks.end);
  // The rest is less than a block, so it belongs to the stretch in which the blocks end, unless they fill it.
  const restEnd = end - start < STRETCH_BYTES ? rest.end : rest.start;
  return [
    { reader, start, end, bytes: NOTHING },
    { reader, start: rest.start, end: restEnd, bytes: NOTHING },
  ];
}

interface Range extends LayerRange {
  readonly reader: LayerReader;
  end: number;
  readonly pieces: Piece[];
}

/** Joins nearby pieces and reads them, into the arena while it has room. Ends when no read is under way. */
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
  await Promise.allSettled(reads);
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
