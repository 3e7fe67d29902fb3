import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { LayerBuilder, type LayerEntry } from '../../src/layers/layer-builder.ts';
import { mergeLayers } from '../../src/layers/merge-layers.ts';
import { isWhiteout, OVERLAY_OPAQUE, Tree } from '../../src/layers/tree.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import { LayerReader } from '../../src/erofs/reader.ts';
import { ReaderPool } from '../../src/erofs/reader-pool.ts';
import { walkLayer } from '../../src/layers/layer-walk.ts';
import { fsck, imageOf, Scratch } from '../support/layers.ts';
import { Random } from '../support/random.ts';
import { streamOf } from '../support/tar.ts';

const METADATA = { mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
const NEVER = new AbortController().signal;

/** Returns every path of an image with all visible attributes; names of one inode by the first of them. */
async function describe(layers: readonly LayerFile[], pool: ReaderPool): Promise<string[]> {
  await using tree = await Tree.open(layers, pool);
  const first = new Map<string, string>();
  const lines: string[] = [];
  for await (const { path, node } of tree.walk()) {
    const { key, sources: _sources, nlink: _nlink, ...attributes } = node;
    const xattrs = [...(await tree.xattrs(node))].map(([name, value]) => [name, Buffer.from(value).toString('hex')]);
    const content = node.type === 'file' ? (await tree.read(node, 0, node.size)).toString('latin1') : '';
    const target = node.type === 'symlink' ? await tree.readlink(node) : '';
    if (node.type !== 'directory' && !first.has(key)) first.set(key, path);
    // A directory's size is that of its list of names, which depends on the layer.
    const size = node.type === 'directory' ? 0 : node.size;
    lines.push(JSON.stringify({ path, ...attributes, size, xattrs, content, target, link: first.get(key) }));
  }
  return lines;
}

/** Merges the layers from `from` on into one; fsck.erofs must accept it. */
async function merge(
  scratch: Scratch,
  layers: readonly LayerFile[],
  from: number,
  pool: ReaderPool,
): Promise<LayerFile[]> {
  const path = scratch.path();
  await using lower = from === 0 ? undefined : await Tree.open(layers.slice(0, from), pool);
  const { bytes } = await mergeLayers({ layers: layers.slice(from), lower, readers: pool, target: path }, NEVER);
  await fsck(path);
  return [...layers.slice(0, from), { path, bytes }];
}

/** Returns the entries of a layer itself, marks included. */
async function rawNames(layer: LayerFile): Promise<string[]> {
  await using reader = await LayerReader.open(layer);
  const names: string[] = [];
  for await (const { path, inode } of walkLayer(reader)) {
    const opaque = (await reader.xattrs(inode)).has(OVERLAY_OPAQUE);
    if (path !== '') names.push(`${isWhiteout(inode) ? '-' : ''}${path}${opaque ? '!' : ''}`);
  }
  return names;
}

/** Changes an image layer by layer at random, like long chains of runs. */
class Chain {
  readonly #random: Random;
  /** Paths that probably exist: impossible changes are left out. */
  readonly #paths = new Set<string>(['usr', 'usr/bin', 'etc']);

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  async layer(path: string, below: readonly LayerFile[], pool: ReaderPool): Promise<LayerFile> {
    await using lower = below.length === 0 ? undefined : await Tree.open(below, pool);
    await using builder = await LayerBuilder.create(path, { lower });
    for (let count = 1 + this.#random.below(10); count > 0; count -= 1) {
      // A path through a file or a loop is refused; the layer is made without that change.
      await this.#change(builder).catch(() => undefined);
    }
    const { bytes } = await builder.finish();
    return { path, bytes };
  }

  async #change(builder: LayerBuilder): Promise<void> {
    const random = this.#random;
    const [old, fresh] = [this.#known(), this.#fresh()];
    switch (random.below(9)) {
      case 0:
        return this.#remove(builder, old);
      case 1:
        return this.#put(builder, old);
      case 2: {
        await builder.add(old, this.#entry('directory'));
        await builder.opaque(old);
        return this.#put(builder, `${old}/${this.#name()}`);
      }
      case 3: {
        await builder.link(fresh, old);
        this.#paths.add(fresh);
        return;
      }
      case 4: {
        await this.#remove(builder, old);
        return this.#put(builder, fresh);
      }
      default:
        return this.#put(builder, fresh);
    }
  }

  async #put(builder: LayerBuilder, path: string): Promise<void> {
    const types = ['file', 'file', 'file', 'directory', 'directory', 'symlink', 'character', 'fifo', 'socket'] as const;
    this.#paths.add(path);
    await builder.add(path, this.#entry(this.#random.pick(types)));
  }

  async #remove(builder: LayerBuilder, path: string): Promise<void> {
    await builder.whiteout(path);
    this.#paths.delete(path);
  }

  #entry(type: LayerEntry['type']): LayerEntry {
    const random = this.#random;
    const xattrs = new Map<string, Uint8Array>();
    if (random.below(4) === 0) xattrs.set('security.capability', Buffer.alloc(20, random.below(256)));
    if (random.below(4) === 0) xattrs.set('user.note', Buffer.alloc(random.below(600), random.below(256)));
    const metadata = {
      mode: random.below(0o10000),
      uid: random.below(70_000),
      gid: random.below(3),
      mtimeSeconds: 1_700_000_000 + random.below(1_000),
      mtimeNanoseconds: random.below(1_000_000_000),
      xattrs,
    };
    if (type === 'symlink')
      return { ...metadata, type, target: random.pick([this.#known(), `/${this.#known()}`, '..']) };
    if (type === 'character' || type === 'block') return { ...metadata, type, major: 1 + random.below(300), minor: 3 };
    if (type !== 'file') return { ...metadata, type };
    const content = Buffer.alloc(random.pick([0, 10, 4_096, 5_000, 20_000]), 65 + random.below(26));
    return { ...metadata, type, size: content.length, content: streamOf(content) };
  }

  #known(): string {
    const paths = [...this.#paths];
    return paths[this.#random.below(paths.length)] ?? 'etc';
  }

  #fresh(): string {
    return `${this.#known()}/${this.#name()}`.split('/').slice(-5).join('/');
  }

  #name(): string {
    return this.#random.pick(['a', 'b', 'c', 'd', 'lib', 'é\xff']);
  }
}

test('wherever a chain is cut and merged, it shows what it showed', async () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    await using scratch = await Scratch.create();
    await using pool = new ReaderPool();
    const chain = new Chain(seed);
    const layers: LayerFile[] = [];
    for (let depth = 0; depth < 6; depth += 1) layers.push(await chain.layer(scratch.path(), layers, pool));
    const expected = await describe(layers, pool);
    for (const from of [0, 1, 3]) {
      const merged = await merge(scratch, layers, from, pool);
      assert.deepEqual(await describe(merged, pool), expected, `seed ${seed}, merged from ${from}`);
      const top = merged[from];
      assert.ok(top !== undefined);
      // No mark remains without something to hide: a guest would see it.
      const marks = (await rawNames(top)).filter((name) => /^-|!$/u.test(name));
      if (from === 0) assert.deepEqual(marks, []);
    }
  }
});

test('at depth 200, merged again and again, a chain shows what its 200 layers show', async () => {
  for (const seed of [1, 2]) {
    await using scratch = await Scratch.create();
    await using pool = new ReaderPool();
    const chain = new Chain(seed);
    const random = new Random(seed);
    const all: LayerFile[] = [];
    let compact: LayerFile[] = [];
    for (let depth = 1; depth <= 200; depth += 1) {
      // Like a run: on top of the merged layers, where its own layer fits too.
      const layer = await chain.layer(scratch.path(), compact, pool);
      all.push(layer);
      compact.push(layer);
      if (compact.length > 12) compact = await merge(scratch, compact, random.below(8), pool);
      if (depth % 50 === 0) {
        const expected = await describe(all, pool);
        assert.ok(expected.length > 20, 'there is something to compare');
        assert.deepEqual(await describe(compact, pool), expected, `seed ${seed}, depth ${depth}`);
      }
    }
    assert.deepEqual(
      await describe(await merge(scratch, all, 0, pool), pool),
      await describe(all, pool),
      'all at once',
    );
  }
});

test('marks stay as far as there is something below for them to hide', async () => {
  await using scratch = await Scratch.create();
  await using pool = new ReaderPool();
  const layers = await imageOf(
    scratch,
    [{ path: 'base/old', content: 'x' }, { path: 'base/dir/file', content: 'x' }, { path: 'both/low' }],
    [{ path: 'made' }, { path: 'both/high' }],
    [{ path: '.wh.made' }, { path: 'base/.wh.old' }, { path: 'base/dir/.wh..wh..opq' }, { path: 'base/dir/new' }],
    [{ path: '.wh.both' }],
    [{ path: 'both/again' }],
  );
  const [, onBase] = await merge(scratch, layers, 1, pool);
  assert.ok(onBase !== undefined);
  assert.deepEqual(await rawNames(onBase), ['base', 'base/dir!', 'base/dir/new', '-base/old', 'both!', 'both/again']);
  const [alone] = await merge(scratch, layers, 0, pool);
  assert.ok(alone !== undefined);
  assert.deepEqual(await rawNames(alone), ['base', 'base/dir', 'base/dir/new', 'both', 'both/again']);
});

test('names of one file stay one inode, and its link count is of those that are left', async () => {
  await using scratch = await Scratch.create();
  await using pool = new ReaderPool();
  const layers = await imageOf(
    scratch,
    [{ path: 'other' }],
    [
      { path: 'a', content: 'x' },
      { path: 'b', flag: '1', linkname: 'a' },
      { path: 'dir/c', flag: '1', linkname: 'a' },
      { path: 'd', flag: '1', linkname: 'a' },
    ],
    [{ path: '.wh.a' }, { path: 'd', content: 'another' }],
  );
  await using tree = await Tree.open(await merge(scratch, layers, 1, pool), pool);
  const [b, c, d] = [await tree.resolve('/b'), await tree.resolve('/dir/c'), await tree.resolve('/d')];
  assert.equal(b.key, c.key);
  assert.notEqual(b.key, d.key);
  assert.deepEqual([b.nlink, d.nlink], [2, 1]);
});

test('an aborted merge stops and leaves nothing', async () => {
  await using scratch = await Scratch.create();
  await using pool = new ReaderPool();
  const path = scratch.path();
  await using builder = await LayerBuilder.create(path);
  for (let index = 0; index < 500; index += 1) await builder.add(`f${index}`, { ...METADATA, type: 'fifo' });
  const { bytes } = await builder.finish();
  const stop = new AbortController();
  const request = { layers: [{ path, bytes }], lower: undefined, readers: pool, target: scratch.path() };
  const merging = mergeLayers(request, stop.signal);
  stop.abort(new Error('enough'));
  await assert.rejects(merging, { message: 'enough' });
  assert.equal((await readdir(scratch.folder)).length, 1);
});
