import { fault } from '../contract/errors.ts';
import type { LayerFile } from '../erofs/layer-file.ts';
import { limits } from '../contract/limits.ts';
import type { Inode } from '../erofs/format.ts';
import type { ReaderPool } from '../erofs/reader-pool.ts';
import type { LayerReader } from '../erofs/reader.ts';
import { defined } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import { sortInTurns } from '../std/sort-in-turns.ts';
import { LayerBuilder, type LayerEntry, type LayerSummary } from './layer-builder.ts';
import { isWhiteout, OVERLAY_OPAQUE, type Tree } from './tree.ts';

export interface MergeRequest {
  /** Layers to merge, bottom first. */
  readonly layers: readonly LayerFile[];
  /** Image below them; undefined when the first of them is the bottom. */
  readonly lower: Tree | undefined;
  readonly readers: ReaderPool;
  /** Path of the new file. */
  readonly target: string;
}

/** Content of one layer at a path. */
interface Part {
  readonly reader: LayerReader;
  readonly inode: Inode;
}

/** Visible content of a name in the layers to be merged. */
interface Slot {
  /** Parts, topmost first; several only for directories. */
  readonly parts: Part[];
  /** True when layers below cannot contribute. */
  closed: boolean;
  /** True for a directory of these layers that hides everything below them. */
  opaque: boolean;
}

/**
 * Writes one layer that is equivalent, on top of `lower`, to the given layers together. Whiteouts and opaque marks are
 * kept where there is something below to hide. Only the link count of a file may differ: it counts the names that are
 * still visible. Faults: LAYER_LIMIT, LAYER_MALFORMED, STORE_CORRUPT, DISK_FULL; nothing is left at `target` then.
 */
export async function mergeLayers(request: MergeRequest, signal: AbortSignal): Promise<LayerSummary> {
  const { layers, lower, readers, target } = request;
  const acquired: LayerFile[] = [];
  try {
    const parts: Part[] = [];
    for (const layer of layers) {
      const reader = await readers.acquire(layer);
      acquired.push(layer);
      parts.unshift({ reader, inode: await reader.root() });
    }
    // Each layer met the limit of entries when it was made; together they may have more.
    await using builder = await LayerBuilder.create(target, { lower, entriesMax: Infinity });
    await new Merge(builder, signal).directory('', parts);
    return await builder.finish();
  } finally {
    for (const layer of acquired) await readers.release(layer);
  }
}

class Merge {
  readonly #builder: LayerBuilder;
  readonly #signal: AbortSignal;
  /** First path of every inode with several names. */
  readonly #linked = new Map<string, ByteString>();
  /** Metadata comes from memory, so nothing else would yield to other work. */
  readonly #pace = new Pace();

  constructor(builder: LayerBuilder, signal: AbortSignal) {
    this.#builder = builder;
    this.#signal = signal;
  }

  async directory(path: ByteString, parts: readonly Part[]): Promise<void> {
    if (path.length > limits.pathBytesMax) throw fault('LAYER_MALFORMED', { reason: 'a path is too long' });
    await this.#builder.add(path, await this.#entry(defined(parts[0], 'a directory has a part')));
    for (const [name, slot] of await slots(parts)) await this.#name(path === '' ? name : `${path}/${name}`, slot);
  }

  async #name(path: ByteString, { parts, opaque }: Slot): Promise<void> {
    if (this.#pace.due()) await this.#pace.rest();
    this.#signal.throwIfAborted();
    const top = defined(parts[0], 'a name has a part');
    const { reader, inode } = top;
    if (isWhiteout(inode)) return this.#builder.whiteout(path);
    if (inode.type === 'directory') {
      await this.directory(path, parts);
      return opaque ? this.#builder.opaque(path) : undefined;
    }
    if (inode.nlink > 1) {
      const key = `${reader.id}:${inode.nid}`;
      const first = this.#linked.get(key);
      if (first !== undefined) return this.#builder.link(path, first);
      this.#linked.set(key, path);
    }
    return this.#builder.add(path, await this.#entry(top));
  }

  /** Returns the entry as in its layer, without the overlay's own mark, which the builder sets where it is needed. */
  async #entry({ reader, inode }: Part): Promise<LayerEntry> {
    const xattrs = new Map(await reader.xattrs(inode));
    xattrs.delete(OVERLAY_OPAQUE);
    const { uid, gid, mtimeSeconds, mtimeNanoseconds, type } = inode;
    const metadata = { mode: inode.mode & 0o7777, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs };
    if (type === 'file') {
      return { ...metadata, type, size: inode.size, content: abortable(reader.stream(inode), this.#signal) };
    }
    if (type === 'symlink') return { ...metadata, type, target: await reader.readlink(inode) };
    if (type === 'character' || type === 'block') return { ...metadata, type, major: inode.major, minor: inode.minor };
    return { ...metadata, type };
  }
}

/** Returns every name in a directory, in byte order, with its content in the layers. */
async function slots(parts: readonly Part[]): Promise<[ByteString, Slot][]> {
  const found = new Map<ByteString, Slot>();
  const pace = new Pace();
  for (const { reader, inode: parent } of parts) {
    for (const { name, nid } of await reader.list(parent)) {
      if (pace.due()) await pace.rest();
      const slot = found.get(name) ?? { parts: [], closed: false, opaque: false };
      found.set(name, slot);
      if (!slot.closed) await addPart(slot, { reader, inode: await reader.inode(nid) });
    }
  }
  return await sortInTurns([...found], ([left], [right]) => (left < right ? -1 : 1));
}

async function addPart(slot: Slot, part: Part): Promise<void> {
  if (part.inode.type !== 'directory') {
    // Below a directory it is hidden itself, and it hid everything below it.
    slot.opaque = slot.parts.length > 0;
    slot.closed = true;
    if (slot.parts.length === 0) slot.parts.push(part);
    return;
  }
  slot.parts.push(part);
  if (part.inode.xattrBytes > 0 && (await part.reader.xattrs(part.inode)).has(OVERLAY_OPAQUE)) {
    slot.opaque = true;
    slot.closed = true;
  }
}

async function* abortable(content: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    signal.throwIfAborted();
    yield chunk;
  }
}
