import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LayerBuilder } from '../../src/archive/layer-builder.ts';
import { Tree } from '../../src/archive/tree.ts';
import type { LayerFile } from '../../src/contract/layer.ts';
import { mergeFrom } from '../../src/engine/compaction.ts';
import { mergeLayers } from '../../src/archive/merge-layers.ts';
import { ReaderPool } from '../../src/erofs/reader-pool.ts';
import { collect } from '../../src/std/bytes.ts';
import { once, openEngine, run, script } from './bench.ts';

/** Numbers that look random and are the same every time. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Every path of an image with all that can be seen of it; hard links by the first path of their inode. */
async function describe(layers: readonly LayerFile[]): Promise<string[]> {
  await using tree = await Tree.open(layers);
  const first = new Map<string, string>();
  const lines: string[] = [];
  for await (const { path, node } of tree.walk()) {
    const { type, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, major, minor } = node;
    const xattrs = [...(await tree.xattrs(node))].map(
      ([name, value]) => `${name}=${Buffer.from(value).toString('hex')}`,
    );
    const content = type === 'file' ? (await collect(tree.stream(node), 100_000)).toString('latin1') : '';
    const target = type === 'symlink' ? await tree.readlink(node) : '';
    if (type !== 'directory' && !first.has(node.key)) first.set(node.key, path);
    const link = first.get(node.key) ?? '';
    lines.push(
      JSON.stringify({
        path,
        type,
        mode,
        uid,
        gid,
        mtimeSeconds,
        mtimeNanoseconds,
        major,
        minor,
        xattrs,
        content,
        target,
        link,
      }),
    );
  }
  return lines;
}

const NAMES = ['a', 'b', 'c'];

/** A few random changes on top of what is below: files, directories, links, whiteouts, opaque directories. */
async function randomLayer(
  path: string,
  below: readonly LayerFile[],
  random: (below: number) => number,
): Promise<LayerFile> {
  await using lower = below.length === 0 ? null : await Tree.open(below);
  await using builder = await LayerBuilder.create(path, { lower: lower ?? undefined });
  const place = (): string => Array.from({ length: 1 + random(3) }, () => NAMES[random(NAMES.length)]!).join('/');
  for (let count = 1 + random(8); count > 0; count -= 1) {
    const metadata = {
      mode: 0o600 + random(64),
      uid: random(3),
      gid: random(3),
      mtimeSeconds: 1_700_000_000 + random(1_000),
      mtimeNanoseconds: random(1_000),
      xattrs: new Map(random(4) === 0 ? [['user.x', Buffer.from([random(256)])]] : []),
    };
    const content = Buffer.alloc(random(3) * 3_000 + random(10), 65 + random(26));
    const target = place();
    const act = [
      () => builder.add(target, { ...metadata, type: 'file', size: content.length, content: once(content) }),
      () => builder.add(target, { ...metadata, type: 'directory' }),
      () => builder.add(target, { ...metadata, type: 'symlink', target: place() }),
      () => builder.add(target, { ...metadata, type: 'character', major: 1, minor: 3 }),
      () => builder.whiteout(target),
      () => builder.opaque(target),
      () => builder.link(target, place()),
    ][random(7)]!;
    // Paths that run through files or loops are refused; the layer then goes without that change.
    await act().catch(() => {});
  }
  const { bytes } = await builder.finish();
  return { path, bytes };
}

test('a merged layer shows what its layers showed, on whatever they lie', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'contree-merge-'));
  await using readers = new ReaderPool();
  try {
    for (let seed = 1; seed <= 60; seed += 1) {
      const random = seeded(seed);
      const layers: LayerFile[] = [];
      for (let depth = 0; depth < 6; depth += 1) {
        layers.push(await randomLayer(join(directory, `${seed}-${depth}`), layers, random));
      }
      const expected = await describe(layers);
      for (const from of [0, 1, 3]) {
        const target = join(directory, `${seed}-merged-${from}`);
        await using lower = from === 0 ? null : await Tree.open(layers.slice(0, from), readers);
        const request = { layers: layers.slice(from), lower: lower ?? undefined, readers, target };
        const { bytes } = await mergeLayers(request, AbortSignal.timeout(10_000));
        const merged = [...layers.slice(0, from), { path: target, bytes }];
        assert.deepEqual(await describe(merged), expected, `seed ${seed}, merged from ${from}`);
      }
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('mergeFrom() leaves large bottoms alone and always gets below the bound', () => {
  const small = Array.from({ length: 16 }, () => 10);
  assert.equal(mergeFrom([1_000_000, ...small]), 1, 'all the small ones, not the bottom');
  assert.equal(mergeFrom([1_000_000, 500_000, ...small]), 2);
  const growing = Array.from({ length: 40 }, (_, index) => 2 ** (40 - index));
  assert.ok(mergeFrom(growing) < 16, 'even where every layer is larger than all above it');
  assert.equal(mergeFrom(Array.from({ length: 17 }, () => 10)), 0);
});

test('at depth 200 an image has few layers, and all of its lineage and content', async () => {
  const layers: number[] = [];
  await using bench = await openEngine({
    hooks: {
      beforeBoot: async (spec) => {
        layers.push(spec.layers.length);
      },
    },
  });
  const { engine, store } = bench;
  const line = [bench.base.uuid];
  for (let depth = 1; depth <= 200; depth += 1) {
    const command = `echo ${depth} > /root/f${depth % 50}; rm /root/f${(depth + 25) % 50}; echo ${depth} >> /root/log`;
    const { result_image_uuid: image } = await run(engine, script(bench, command, { image: line.at(-1)! }));
    line.push(image!);
  }
  await engine.settled();
  const deepest = line.at(-1)!;
  assert.ok(Math.max(...layers) <= 24, `at most ${Math.max(...layers)} layers were mounted`);
  assert.ok(store.images.get(deepest).layers.length <= 24);
  const { ancestors, root } = await engine.lineage(deepest);
  assert.deepEqual(
    ancestors.map(({ uuid }) => uuid),
    line.slice(0, -1).toReversed(),
  );
  assert.equal(root, bench.base.uuid);
  const names = async (image: string): Promise<string[]> =>
    (await engine.listDirectory(image, '/root')).files.map(({ path }) => path).filter((path) => path !== 'log');
  const expected = (depth: number): string[] => {
    const present = new Set<string>();
    for (let at = 1; at <= depth; at += 1) {
      present.add(`f${at % 50}`);
      present.delete(`f${(at + 25) % 50}`);
    }
    return [...present].sort();
  };
  for (const depth of [1, 17, 100, 199, 200])
    assert.deepEqual(await names(line[depth]!), expected(depth), `depth ${depth}`);
  await assert.rejects(engine.deleteImage(line[100]!), { code: 'IMAGE_IN_USE' });
  // What only the forgotten forms needed goes; everything is still whole.
  await engine.gc({ olderThanDays: 0 });
  for (const depth of [1, 100, 200])
    assert.deepEqual(await names(line[depth]!), expected(depth), `depth ${depth} after gc`);
  const { checks } = await engine.doctor({ verify: true });
  assert.deepEqual(
    checks.filter(({ status }) => status === 'failed'),
    [],
  );
});
