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
  const seen = new Set<number>();
  const pending: LayerWalkEntry[] = [{ path: '', inode: await reader.root() }];
  while (pending.length > 0) {
    const entry = defined(pending.pop(), 'not empty');
    yield entry;
    const { path, inode } = entry;
    if (inode.type !== 'directory') continue;
    if (seen.has(inode.nid) || path.length > limits.pathBytesMax) {
      throw damaged('its directories form a loop');
    }
    seen.add(inode.nid);
    const prefix = path === '' ? '' : `${path}/`;
    for (const { name, nid } of (await reader.list(inode)).toReversed()) {
      pending.push({ path: prefix + name, inode: await reader.inode(nid) });
    }
  }
}
