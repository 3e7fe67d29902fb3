import { createHash } from 'node:crypto';
import { changesAnything } from '../../layers/changes-anything.ts';
import { LayerBuilder } from '../../layers/layer-builder.ts';
import { OVERLAY_OPAQUE, Tree } from '../../layers/tree.ts';
import { isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import type { ByteString } from '../../std/bytes.ts';
import { CACHE_MOUNT } from '../../store/gc/usage.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { ImageSourceNode } from './source-node.ts';

/** A cache that builds of a project share, at one path. */
export interface CacheMount {
  /** Source of its layer in the store, which keeps the layer as long as it is used. */
  readonly source: string;
  readonly path: ByteString;
  /** Layer with the content; undefined for a new cache. */
  readonly layer: LayerFile | undefined;
}

/** Finds a cache by its id and the path where it is mounted. The caller holds the store. */
export async function loadCache(
  store: ProjectStore,
  { id, path }: { readonly id: string; readonly path: ByteString },
): Promise<CacheMount> {
  const key = createHash('sha256')
    .update(JSON.stringify([id, path]))
    .digest('hex');
  const source = `${CACHE_MOUNT}${key}`;
  const known = store.layers.findBySource(source);
  return { source, path, layer: known && (await store.layers.file(known.digest)) };
}

/** Layers of the mounts of a command, bottom first, and that of what it changed. */
export interface CacheLayers {
  readonly mounts: readonly LayerFile[];
  readonly changes: LayerFile;
}

/**
 * Stores the content that a cache has after a command, unless that changed nothing in it. One that has grown beyond its
 * bound stays as it was before.
 */
export async function saveCache(
  { store, readers }: { readonly store: ProjectStore; readonly readers: ReaderPool },
  { source, path }: CacheMount,
  { mounts, changes }: CacheLayers,
  signal: AbortSignal,
): Promise<void> {
  await using before = await Tree.open(mounts, readers);
  if (!(await changesAnything(changes, before, path))) return;
  await using tree = await Tree.open([...mounts, changes], readers);
  await using staged = store.layers.stage();
  await using builder = await LayerBuilder.create(staged.path, { bytesMax: limits.buildCacheBytesMax, signal });
  try {
    await copyBelow(tree, builder, path);
    await store.layers.publish(staged, { ...(await builder.finish()), source });
  } catch (error) {
    if (!isFault(error, 'LAYER_LIMIT')) throw error;
  }
}

async function copyBelow(tree: Tree, builder: LayerBuilder, path: ByteString): Promise<void> {
  const start = await tree.resolve(`/${path}`, { followLast: false });
  const names = new Map<string, ByteString>();
  for await (const { path: rest, node } of tree.walk(start)) {
    const target = rest === '' ? path : `${path}/${rest}`;
    const first = node.type === 'file' && node.nlink > 1 ? names.get(node.key) : undefined;
    if (first !== undefined) await builder.link(target, first);
    else {
      const entry = await new ImageSourceNode(tree, node).entry();
      // Whatever the image has there is not part of the cache.
      const xattrs = rest === '' ? new Map([...entry.xattrs, [OVERLAY_OPAQUE, Buffer.from('y')]]) : entry.xattrs;
      await builder.add(target, { ...entry, xattrs });
    }
    names.set(node.key, target);
  }
}
