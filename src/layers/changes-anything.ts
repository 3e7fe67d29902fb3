import type { Inode } from '../erofs/format.ts';
import type { LayerFile } from '../erofs/layer-file.ts';
import { LayerReader } from '../erofs/reader.ts';
import type { ByteString } from '../std/bytes.ts';
import { Pace } from '../std/event-loop.ts';
import type { Tree } from './tree.ts';

/**
 * Reports whether the layer has more than unchanged directories at a path (without leading slash; the root by default) and
 * below it. A directory in which something was created and removed again has new timestamps; that alone changes nothing.
 */
export async function changesAnything(layer: LayerFile, lower: Tree, start: ByteString = ''): Promise<boolean> {
  // Reads the raw layer, because a tree does not show whiteouts.
  await using reader = await LayerReader.open(layer);
  const first = await entryAt(reader, start);
  if (first === undefined) return false;
  const pending = [{ path: `/${start}`, inode: first }];
  const pace = new Pace();
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (pace.due()) await pace.rest();
    const { path, inode } = next;
    if (inode.type !== 'directory' || inode.xattrBytes > 0) return true;
    const below = await lower.resolve(path, { followLast: false }).catch(() => undefined);
    if (below?.type !== 'directory' || below.mode !== inode.mode) return true;
    if (below.uid !== inode.uid || below.gid !== inode.gid) return true;
    for await (const entries of reader.blocks(inode)) {
      const children = await reader.inodes(entries.map(({ nid }) => nid));
      if (children.some(({ type }) => type !== 'directory')) return true;
      for (const [at, child] of children.entries()) {
        pending.push({ path: `${path === '/' ? '' : path}/${entries[at]?.name}`, inode: child });
      }
    }
  }
  return false;
}

/** Returns what a layer has at a path: a mark of removal at one above it, too. */
async function entryAt(reader: LayerReader, path: ByteString): Promise<Inode | undefined> {
  let inode = await reader.root();
  for (const name of path.split('/').filter((part) => part !== '')) {
    if (inode.type !== 'directory') return inode;
    const entry = await reader.find(inode, name);
    if (entry === undefined) return undefined;
    inode = await reader.inode(entry.nid);
  }
  return inode;
}
