import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { Tree } from '../../../src/layers/tree.ts';
import { Store } from '../../../src/store/store.ts';
import { OCI, sha256, type TestLayer } from '../../support/servers/registry.ts';
import { type TarMember, tarOf } from '../../support/tar.ts';

/** A store in a folder that is removed at the end. */
export interface TestStore extends AsyncDisposable {
  readonly store: Store;
  /** Returns the names of the files in the temporary folder. */
  leftovers(): Promise<string[]>;
  /** Returns path and content (or kind) of everything in an image of these layers. */
  contents(layers: readonly string[]): Promise<Record<string, string>>;
}

export async function openStore(): Promise<TestStore> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-import-'));
  const store = await Store.open(join(folder, 'data'));
  return {
    store,
    leftovers: () => readdir(store.tmp),
    async contents(layers) {
      await using tree = await Tree.open(await store.layers.files(layers));
      const found: Record<string, string> = {};
      for await (const { path, node } of tree.walk()) {
        if (path === '') continue;
        if (node.type === 'file') found[path] = (await tree.read(node, 0, 100)).toString();
        else found[path] = node.type === 'symlink' ? `-> ${await tree.readlink(node)}` : node.type;
      }
      return found;
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A layer of these members, compressed for transport. */
export function tarLayer(members: readonly TarMember[], compression: 'none' | 'gzip' | 'zstd' = 'gzip'): TestLayer {
  return rawLayer(tarOf(members), compression);
}

/** A layer of these bytes, valid or not. */
export function rawLayer(tar: Buffer, compression: 'none' | 'gzip' | 'zstd' = 'gzip'): TestLayer {
  const diffId = sha256(tar);
  if (compression === 'none') return { bytes: tar, diffId, mediaType: OCI.layer };
  if (compression === 'zstd') return { bytes: zstdCompressSync(tar), diffId, mediaType: OCI.zstd };
  return { bytes: gzipSync(tar), diffId, mediaType: OCI.gzip };
}
