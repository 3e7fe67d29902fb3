import { limits } from '../contract/limits.ts';
import { damaged } from '../erofs/damage.ts';
import type { Inode } from '../erofs/format.ts';
import type { LayerReader } from '../erofs/reader.ts';
import { defined } from '../std/assert.ts';
import type { ByteString } from '../std/bytes.ts';

export interface LayerWalkEntry {
  /** Path without leading slash; empty for the root. */
  readonly path: ByteString;
  readonly inode: Inode;
}

/** Yields everything in one layer as stored, whiteouts included; parents before children, siblings in byte order. */
export async function* walkLayer(reader: LayerReader): AsyncGenerator<LayerWalkEntry> {
  const root = await reader.root();
  yield { path: '', inode: root };
  const seen = new Set([root.nid]);
  const pending = [{ prefix: '', entries: entriesOf(reader, root) }];
  for (let place = pending.at(-1); place !== undefined; place = pending.at(-1)) {
    const next = await place.entries.next();
    if (next.done === true) {
      pending.pop();
      continue;
    }
    const { name, inode } = next.value;
    const path = place.prefix + name;
    yield { path, inode };
    if (inode.type !== 'directory') continue;
    if (seen.has(inode.nid) || path.length > limits.pathBytesMax) throw damaged('its directories form a loop');
    seen.add(inode.nid);
    pending.push({ prefix: `${path}/`, entries: entriesOf(reader, inode) });
  }
}

/** A directory's entries as they are read: a large one takes no more memory than a small one. */
async function* entriesOf(reader: LayerReader, directory: Inode): AsyncGenerator<{ name: ByteString; inode: Inode }> {
  for await (const block of reader.blocks(directory)) {
    const inodes = await reader.inodes(block.map(({ nid }) => nid));
    for (const [index, { name }] of block.entries()) {
      yield { name, inode: defined(inodes[index], 'every entry has an inode') };
    }
  }
}
