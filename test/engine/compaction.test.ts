import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { LayerBuilder } from '../../src/layers/layer-builder.ts';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { limits } from '../../src/contract/limits.ts';
import { Compactor, mergeFrom } from '../../src/engine/compaction.ts';
import { SILENT_LOG } from '../../src/engine/log.ts';
import { ReaderPool } from '../../src/erofs/reader-pool.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import { collect } from '../../src/std/bytes.ts';
import type { StoredImage } from '../../src/store/images.ts';
import { type EngineBench, once, openEngine, run, script, startEngine } from './bench.ts';

const METADATA = { mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
/** Distinct layers of a chain; deeper chains repeat them. */
const DISTINCT = 40;

/**
 * Makes an image of the base and `depth` layers, without compaction: layer n writes n into one of ten files and removes
 * another.
 */
async function deepImage({ store, base }: EngineBench, depth: number): Promise<StoredImage> {
  const layers: string[] = [];
  for (let index = 0; index < Math.min(depth, DISTINCT); index += 1) {
    await using staged = store.layers.stage();
    await using builder = await LayerBuilder.create(staged.path);
    const content = Buffer.from(`${index} `);
    await builder.add(`root/f${index % 10}`, {
      ...METADATA,
      type: 'file',
      size: content.length,
      content: once(content),
    });
    await builder.add(`root/f${(index + 5) % 10}`, { ...METADATA, type: 'character', major: 0, minor: 0 });
    layers.push((await store.layers.publish(staged, await builder.finish())).digest);
  }
  const all = Array.from({ length: depth }, (_, index) => layers[index % DISTINCT] ?? '');
  return store.images.create({
    layers: [...base.layers, ...all],
    config: EMPTY_IMAGE_CONFIG,
    parent: base.uuid,
    layerBytes: 0,
  });
}

/** Returns name and content of every file in `/root`, read without a guest. */
async function rootOf({ engine }: EngineBench, image: string): Promise<Record<string, string>> {
  const content: Record<string, string> = {};
  for (const { path } of (await engine.files.list(image, { path: '/root' })).files) {
    const { body } = await engine.files.read(image, { path: `/root/${path}` });
    content[path] = (await collect(body, 1_000)).toString();
  }
  return content;
}

test('mergeFrom() leaves large bottoms alone and always gets below the bound', () => {
  const small = Array.from({ length: 16 }, () => 10);
  assert.equal(mergeFrom([1_000_000, ...small]), 1, 'all the small ones, not the bottom');
  assert.equal(mergeFrom([1_000_000, 500_000, ...small]), 2);
  const growing = Array.from({ length: 40 }, (_, index) => 2 ** (40 - index));
  assert.ok(mergeFrom(growing) < 16, 'even where every layer is larger than all above it');
  assert.equal(mergeFrom(Array.from({ length: 17 }, () => 10)), 0);
});

test('at depth 200 an image has few layers, and all of its lineage and content; deleting in the middle is refused or takes the rest along', async () => {
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
  const { ancestors, root } = await engine.images.lineage(deepest);
  assert.deepEqual(
    ancestors.map(({ uuid }) => uuid),
    line.slice(0, -1).toReversed(),
  );
  assert.equal(root, bench.base.uuid);
  const names = async (image: string): Promise<string[]> =>
    (await engine.files.list(image, { path: '/root' })).files.map(({ path }) => path).filter((path) => path !== 'log');
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
  await assert.rejects(engine.images.delete(line[100]!), { code: 'IMAGE_IN_USE' });
  // Layers that only the deleted images needed are removed; everything else is intact.
  await engine.system.gc({ older_than_days: 0 });
  for (const depth of [1, 100, 200])
    assert.deepEqual(await names(line[depth]!), expected(depth), `depth ${depth} after gc`);
  const refused = engine.images.delete(line[120]!);
  await assert.rejects(refused, { code: 'IMAGE_IN_USE', message: /80 images made from it/u });
  assert.deepEqual(await engine.images.delete(line[120]!, { cascade: true }), line.slice(120).toReversed());
  await engine.system.gc({ older_than_days: 0 });
  await assert.rejects(engine.images.get(deepest), { code: 'IMAGE_NOT_FOUND' });
  for (const depth of [1, 100, 119])
    assert.deepEqual(await names(line[depth]!), expected(depth), `depth ${depth} after the rest was deleted`);
  const { added, removed } = await engine.images.diff(line[118]!, { to: line[119]! });
  assert.deepEqual([added, removed], [1, 1]);
  await run(engine, script(bench, 'true', { image: line[119]!, disposable: true }));
  const { checks } = await engine.system.doctor({ verify: true });
  assert.deepEqual(
    checks.filter(({ status }) => status === 'failed'),
    [],
  );
});

for (const depth of [limits.layersMountedMax, 200, 1_000]) {
  test(`an image of ${depth} layers that nobody compacted is compacted before it runs`, async () => {
    const mounted: number[] = [];
    await using bench = await openEngine({
      hooks: {
        beforeBoot: async ({ layers }) => {
          mounted.push(layers.length);
        },
      },
    });
    const { engine, store } = bench;
    const { uuid } = await deepImage(bench, depth);
    const before = await rootOf(bench, uuid);
    assert.equal(Object.keys(before).length, 5);
    const { uuid: injected } = await engine.uploads.create(once('new'));
    const files = { '/root/injected': { uuid: injected, uid: 0, gid: 0, mode: '0644' } };
    const operation = await run(engine, script(bench, 'echo x > /root/x', { image: uuid, files }));
    assert.equal(operation.status, 'SUCCESS');
    assert.ok(
      Math.max(...mounted) <= limits.layersMountedMax,
      `${mounted.join()} layers mounted, the injected one too`,
    );
    assert.deepEqual(await rootOf(bench, uuid), before);
    const child = operation.result_image_uuid ?? '';
    assert.deepEqual(await rootOf(bench, child), { ...before, injected: 'new', x: 'x\n' });
    assert.deepEqual(
      (await engine.images.lineage(child)).ancestors.map((node) => node.uuid),
      [uuid, bench.base.uuid],
    );
    assert.ok(store.images.get(child).layers.length < limits.layersMountedMax);
  });
}

test('an image is merged earlier where other layers are mounted over it', async () => {
  await using bench = await openEngine();
  await using readers = new ReaderPool();
  await using compactor = new Compactor(bench.store, readers, SILENT_LOG);
  const { uuid } = await deepImage(bench, 19);
  const { signal } = new AbortController();
  const others = limits.layersMountedMax - 20;
  assert.equal((await compactor.mountable(uuid, signal, others)).length, 20, 'they just fit');
  assert.ok((await compactor.mountable(uuid, signal, others + 4)).length <= 16);
});

test('branches of one deep image wait for one merge and share its layer', async () => {
  await using bench = await openEngine();
  const { engine, store } = bench;
  const deep = await deepImage(bench, 60);
  const made = store.layers.usage().count;
  const branch = (name: string): Promise<string> =>
    run(engine, script(bench, `echo ${name} > /root/${name}`, { image: deep.uuid })).then(
      ({ result_image_uuid: uuid }) => uuid ?? '',
    );
  const children = await Promise.all(['a', 'b', 'c', 'd'].map(branch));
  const { layers } = store.images.get(deep.uuid);
  for (const child of children) assert.deepEqual(store.images.get(child).layers.slice(0, -1), layers);
  assert.equal(store.layers.usage().count, made + 1 + children.length);
});

test('a child made while its image was compacted gets the merged layers, and so do those made before', async () => {
  let booted: () => void = () => undefined;
  const running = new Promise<void>((resolve) => {
    booted = resolve;
  });
  const { promise: compacted, resolve: finish } = Promise.withResolvers<void>();
  await using bench = await openEngine({
    hooks: {
      beforeBoot: async () => {
        booted();
        await compacted;
      },
    },
  });
  const { engine, store } = bench;
  // Few enough for a run, too many for the background.
  const deep = await deepImage(bench, 18);
  const sibling = store.images.create({ layers: deep.layers, config: EMPTY_IMAGE_CONFIG, parent: deep.uuid });
  const operation = run(engine, script(bench, 'echo x > /root/x', { image: deep.uuid }));
  await running;
  await engine.settled();
  const { layers } = store.images.get(deep.uuid);
  assert.ok(layers.length < deep.layers.length, 'the run itself had it compacted in the background');
  assert.deepEqual(store.images.get(sibling.uuid).layers, layers);
  finish();
  const child = (await operation).result_image_uuid ?? '';
  assert.deepEqual(store.images.get(child).layers.slice(0, -1), layers);
  assert.deepEqual(await rootOf(bench, child), { ...(await rootOf(bench, deep.uuid)), x: 'x\n' });
});

test('what is deleted or collected while it is compacted stays gone, the rest whole', async () => {
  await using bench = await openEngine();
  const { engine, store } = bench;
  const [doomed, kept] = [await deepImage(bench, 18), await deepImage(bench, 20)];
  const before = await rootOf(bench, kept.uuid);
  const running = ['true', 'true'].map((command, index) =>
    run(engine, script(bench, command, { image: [doomed, kept][index]!.uuid, disposable: true })),
  );
  await Promise.all(running);
  await engine.images.delete(doomed.uuid);
  await engine.system.gc({ older_than_days: 0 });
  await engine.settled();
  await engine.system.gc({ older_than_days: 0 });
  assert.equal(store.images.find(doomed.uuid), undefined);
  assert.deepEqual(await rootOf(bench, kept.uuid), before);
  const { layers } = store.images.get(kept.uuid);
  assert.ok(layers.length <= 16);
  const used = new Set([...layers, ...bench.base.layers]);
  assert.deepEqual((await readdir(join(bench.directory, 'layers'))).sort(), [...used].sort(), 'old layers are gone');
});

test('an engine that stops in the middle leaves the image as it was, and the next one compacts it', async () => {
  await using bench = await openEngine();
  const { store, driver } = bench;
  const deep = await deepImage(bench, 20);
  const first = startEngine(store, driver);
  await run(first, script(bench, 'true', { image: deep.uuid, disposable: true }));
  await first[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(join(bench.directory, 'tmp')), []);
  const now = store.images.get(deep.uuid).layers.length;
  assert.ok(now === deep.layers.length || now <= 16, 'all or nothing');
  await run(bench.engine, script(bench, 'true', { image: deep.uuid, disposable: true }));
  await bench.engine.settled();
  assert.ok(store.images.get(deep.uuid).layers.length <= 16);
});
