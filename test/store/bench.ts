import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import type { Layer } from '../../src/store/layers.ts';
import type { StoredImage } from '../../src/store/images.ts';
import type { ProjectStore } from '../../src/store/project-store.ts';
import { Store } from '../../src/store/store.ts';

/** A directory that is removed at the end of the block. */
export async function scratch(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'contree-store-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export interface StoreBench extends AsyncDisposable {
  readonly directory: string;
  readonly store: Store;
}

/** A store in a new directory. */
export async function openStore(): Promise<StoreBench> {
  const place = await scratch();
  const store = await Store.open(place.path);
  return {
    directory: place.path,
    store,
    [Symbol.asyncDispose]: async () => {
      await store[Symbol.asyncDispose]();
      await place[Symbol.asyncDispose]();
    },
  };
}

/** Publishes bytes in place of a layer; the store does not parse them. */
export async function addLayer(store: ProjectStore, content: string = randomUUID(), source?: string): Promise<Layer> {
  await using staged = store.layers.stage();
  const bytes = Buffer.alloc(4096, content);
  await writeFile(staged.path, bytes);
  const digest = createHash('sha256').update(bytes).digest('hex');
  return await store.layers.publish(staged, {
    digest,
    bytes: bytes.length,
    entries: 1,
    ...(source !== undefined && { source }),
  });
}

/** A root image of one layer, or a child that adds one to its parent. */
export async function addImage(store: ProjectStore, parent?: StoredImage): Promise<StoredImage> {
  const layer = await addLayer(store);
  return store.images.create({
    layers: [...(parent?.layers ?? []), layer.digest],
    config: EMPTY_IMAGE_CONFIG,
    layerBytes: layer.bytes,
    ...(parent && { parent: parent.uuid, command: 'touch x', exitCode: 0 }),
  });
}

/** A file as one chunk or several. */
export async function* body(...chunks: readonly string[]): AsyncIterable<Uint8Array> {
  for (const chunk of chunks) yield Buffer.from(chunk);
}
