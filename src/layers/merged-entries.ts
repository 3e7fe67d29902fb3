import type { Dirent } from '../erofs/directory.ts';
import type { Inode } from '../erofs/format.ts';
import type { LayerReader } from '../erofs/reader.ts';
import { defined } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';

/** One layer's part in a file of a tree. */
export interface Source {
  readonly reader: LayerReader;
  readonly inode: Inode;
}

/** A name, and what the layers that have it say it is, topmost first. */
export interface MergedEntry {
  readonly name: ByteString;
  readonly sources: readonly Source[];
}

/** Entries given at once: enough to be worth the wait for them. */
const ENTRIES_AT_ONCE = 256;

/**
 * The entries of one directory in several layers (topmost first), ascending, some at a time. Each layer's are sorted
 * already, so they are merged as they are read, and no more than a block of each is in memory.
 */
export async function* mergedEntries(directories: readonly Source[]): AsyncGenerator<readonly MergedEntry[]> {
  const cursors = directories.map((directory) => new Cursor(directory));
  for (const cursor of cursors) await cursor.fill();
  let open = cursors.filter((cursor) => cursor.name !== undefined);
  let entries: MergedEntry[] = [];
  while (open.length > 1) {
    const name = open.reduce((least, { name: next = '' }) => (next < least ? next : least), open[0]?.name ?? '');
    const sources: Source[] = [];
    for (const cursor of open) {
      if (cursor.name !== name) continue;
      sources.push(cursor.take());
      if (cursor.name === undefined) await cursor.fill();
    }
    open = open.filter((cursor) => cursor.name !== undefined);
    entries.push({ name, sources });
    if (entries.length < ENTRIES_AT_ONCE) continue;
    yield entries;
    entries = [];
  }
  if (entries.length > 0) yield entries;
  // What only one layer has is not compared.
  for (const cursor of open) yield* rest(cursor);
}

async function* rest(cursor: Cursor): AsyncGenerator<readonly MergedEntry[]> {
  while (cursor.name !== undefined) {
    const entries: MergedEntry[] = [];
    for (let { name } = cursor; name !== undefined; { name } = cursor) entries.push({ name, sources: [cursor.take()] });
    yield entries;
    await cursor.fill();
  }
}

/** A place in one layer's directory. */
class Cursor {
  readonly #reader: LayerReader;
  readonly #blocks: AsyncIterator<readonly Dirent[]>;
  #entries: readonly Dirent[] = [];
  #inodes: readonly Inode[] = [];
  #at = 0;

  constructor({ reader, inode }: Source) {
    this.#reader = reader;
    this.#blocks = reader.blocks(inode);
  }

  /** Returns the name of the next entry; undefined where `fill` must be called, or at the end. */
  get name(): ByteString | undefined {
    return this.#entries[this.#at]?.name;
  }

  take(): Source {
    return { reader: this.#reader, inode: defined(this.#inodes[this.#at++], 'every entry has an inode') };
  }

  /** Reads the next block that has entries. */
  async fill(): Promise<void> {
    while (this.name === undefined) {
      const next = await this.#blocks.next();
      if (next.done === true) return;
      this.#inodes = await this.#reader.inodes(next.value.map(({ nid }) => nid));
      [this.#entries, this.#at] = [next.value, 0];
    }
  }
}
