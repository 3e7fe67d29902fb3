import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildLayer, type BuiltLayer } from '../../src/layers/build-layer.ts';
import { Tree } from '../../src/layers/tree.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { ReaderPool } from '../../src/erofs/reader-pool.ts';
import { streamOf, type TarMember, tarOf } from './tar.ts';

/** Mode of layers in the store: a sandbox with a user of its own opens them again. */
export const STORED_MODE = 0o444;

/** A folder that is removed at the end of the test. */
export class Scratch implements AsyncDisposable {
  readonly folder: string;
  #names = 0;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Scratch> {
    return new Scratch(await mkdtemp(join(tmpdir(), 'contree-test-')));
  }

  /** Returns a path that does not exist. */
  path(): string {
    return join(this.folder, `${this.#names++}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/**
 * Builds layers from hand-made archives, each on top of the previous ones, bottom first; fsck.erofs must accept each.
 */
export async function imageOf(scratch: Scratch, ...archives: (readonly TarMember[])[]): Promise<LayerFile[]> {
  const layers: LayerFile[] = [];
  await using pool = new ReaderPool();
  for (const members of archives) layers.push(await layerOf(scratch, tarOf(members), layers, pool));
  return layers;
}

/** Builds one layer from the bytes of an archive, on top of `below`. */
export async function layerOf(
  scratch: Scratch,
  tar: Uint8Array,
  below: readonly LayerFile[] = [],
  pool?: ReaderPool,
): Promise<LayerFile & BuiltLayer> {
  const path = scratch.path();
  await using lower = below.length === 0 ? undefined : await Tree.open(below, pool);
  const built = await buildLayer(streamOf(tar, 64 * 1024), path, { lower });
  await chmod(path, STORED_MODE);
  await fsck(path);
  return { path, ...built };
}

/** Rejects with its output when fsck.erofs finds something. */
export async function fsck(path: string): Promise<void> {
  // Without a folder, --extract reads every file and keeps nothing.
  const { stderr } = await promisify(execFile)('fsck.erofs', ['--extract', path]);
  assert.equal(stderr, '');
}

/** Lists an image, one line per path: type, permissions, owner, and content. */
export async function listing(layers: readonly LayerFile[]): Promise<string[]> {
  await using tree = await Tree.open(layers);
  const lines: string[] = [];
  for await (const { path, node } of tree.walk()) {
    let what: string = node.type;
    if (node.type === 'file') what = JSON.stringify((await tree.read(node, 0, 40)).toString('latin1'));
    if (node.type === 'symlink') what = `-> ${await tree.readlink(node)}`;
    lines.push(`/${path} ${(node.mode & 0o7777).toString(8)} ${node.uid}:${node.gid} ${what}`);
  }
  return lines;
}
