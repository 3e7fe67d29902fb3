import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { EMPTY_IMAGE_CONFIG, type Image, type ImageQuery } from '../../src/contract/image.ts';
import { limits } from '../../src/contract/limits.ts';
import { addImage, addLayer, openStore } from './bench.ts';

const uuids = (images: readonly Image[]): string[] => images.map(({ uuid }) => uuid);
const nobody = (): undefined => undefined;

test('list() gives the newest first, each image once, in pages', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const made = [await addImage(store), await addImage(store), await addImage(store)]
    .map(({ uuid }) => uuid)
    .toReversed();
  store.tags.set('a', made[1]!);
  store.tags.set('b', made[1]!);
  assert.deepEqual(uuids(store.images.list({})), made);
  assert.deepEqual(uuids(store.images.list({ limit: 2, offset: 1 })), made.slice(1));
  assert.deepEqual(uuids(store.images.list({ uuid: made[0]!.toUpperCase() })), [made[0]]);
  assert.deepEqual(uuids(store.images.list({ since: new Date(Date.now() + 60_000) })), []);
  assert.deepEqual(uuids(store.images.list({ until: new Date(Date.now() + 60_000) })), made);
});

test('list() of tagged images has every tag, in pages', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const [old, , young] = [await addImage(store), await addImage(store), await addImage(store)];
  for (const [tag, image] of [
    ['busybox:latest', old],
    ['alpine', young],
    ['busybox:1.36', old],
  ] as const)
    store.tags.set(tag, image.uuid);
  const all = [
    [young.uuid, 'alpine'],
    [old.uuid, 'busybox:1.36'],
    [old.uuid, 'busybox:latest'],
  ];
  const listed = (query: ImageQuery): unknown[] => store.images.list(query).map(({ uuid, tag }) => [uuid, tag]);
  assert.deepEqual(listed({ tagged: true }), all);
  assert.deepEqual(listed({ tagged: true, limit: 1, offset: 2 }), all.slice(2));
  assert.deepEqual(listed({ tag: 'busybox:latest' }), all.slice(2));
  assert.deepEqual(listed({ tag: 'busybox' }), all.slice(1));
  assert.deepEqual(store.images.list({ tag: 'busybox' })[0]?.tags, ['busybox:1.36', 'busybox:latest']);
});

test('list() by tag takes prefixes, exact match first, and shows the tag that matched', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const [old, young, other] = [await addImage(store), await addImage(store), await addImage(store)];
  store.tags.set('python:3.11', old.uuid);
  store.tags.set('python:3.11-slim', young.uuid);
  store.tags.set('zebra', young.uuid);
  store.tags.set('alpine', other.uuid);
  const found = store.images.list({ tag: 'python:3.11' });
  assert.deepEqual(
    found.map(({ uuid, tag }) => [uuid, tag]),
    [
      [old.uuid, 'python:3.11'],
      [young.uuid, 'python:3.11-slim'],
    ],
  );
  assert.deepEqual(found[1]?.tags, ['zebra', 'python:3.11-slim']);
  assert.equal(store.images.list({})[1]?.tag, 'zebra', 'without a filter the newest tag is shown');
  assert.deepEqual(store.images.list({ tag: 'PYTHON' }), []);
  assert.deepEqual(store.images.list({ tag: '%' }), []);
});

test('a tag moves; other tags of the image stay', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const [first, second] = [await addImage(store), await addImage(store)];
  store.tags.set('keep', first.uuid);
  store.tags.set('move', first.uuid);
  store.tags.set('move', second.uuid);
  assert.deepEqual(store.tags.of(first.uuid), ['keep']);
  assert.equal(store.images.resolve('tag:move').uuid, second.uuid);
  assert.throws(
    () => store.tags.set('Not A Tag', first.uuid),
    (error) => isFault(error, 'TAG_INVALID'),
  );
  assert.throws(
    () => store.tags.remove('none'),
    (error) => isFault(error, 'TAG_NOT_FOUND'),
  );
});

test('an unknown name says which tags come close', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const { uuid } = await addImage(store);
  store.tags.set('common/python-ml:3.11', uuid);
  store.tags.set('other', uuid);
  assert.throws(
    () => store.images.resolve('tag:python-ml'),
    (error) => isFault(error, 'IMAGE_NOT_FOUND') && error.detail['closest'] === 'tag:common/python-ml:3.11',
  );
  assert.throws(
    () => store.images.resolve('tag:ohter'),
    (error) => isFault(error, 'IMAGE_NOT_FOUND') && error.detail['closest'] === 'tag:other',
  );
  assert.throws(
    () => store.images.resolve('nonsense/../x'),
    (error) => isFault(error, 'IMAGE_NOT_FOUND'),
  );
});

test('lineage() knows parents, children and root', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const root = await addImage(store);
  const middle = await addImage(store, root);
  const [left, right] = [await addImage(store, middle), await addImage(store, middle)];
  const line = store.images.lineage(middle.uuid);
  assert.equal(line.image.uuid, middle.uuid);
  assert.deepEqual(
    line.ancestors.map(({ uuid }) => uuid),
    [root.uuid],
  );
  assert.deepEqual(
    line.children.map(({ uuid }) => uuid),
    [left.uuid, right.uuid],
  );
  assert.equal(line.root, root.uuid);
  assert.deepEqual([line.image.command, line.image.exit_code, line.image.layer_bytes], ['touch x', 0, 4096]);
  assert.equal(store.images.lineage(root.uuid).image.command, 'import');
});

test('list() tells how each image came to be, a long command by its beginning', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const root = await addImage(store);
  const command = 'x'.repeat(limits.commandCharactersListed + 1);
  const child = store.images.create({
    layers: root.layers,
    config: EMPTY_IMAGE_CONFIG,
    parent: root.uuid,
    command,
    exitCode: 3,
    layerBytes: 4096,
  });
  assert.deepEqual(
    store.images.list({}).map((image) => [image.uuid, image.parent_uuid, image.command, image.exit_code]),
    [
      [child.uuid, root.uuid, command.slice(1), 3],
      [root.uuid, null, 'import', null],
    ],
  );
  assert.equal(store.images.list({})[0]?.layer_bytes, 4096);
  assert.equal(store.images.lineage(child.uuid).image.command, command);
});

test('delete() refuses what others depend on, and takes them along when told to', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const root = await addImage(store);
  const child = await addImage(store, root);
  const grandchild = await addImage(store, child);
  store.tags.set('x', grandchild.uuid);
  const refused = (error: unknown): boolean => isFault(error, 'IMAGE_IN_USE');
  assert.throws(() => store.images.delete(root.uuid, { cascade: false, usedBy: nobody }), refused);
  const running = (image: string): string | undefined => (image === grandchild.uuid ? 'operation 1' : undefined);
  assert.throws(() => store.images.delete(root.uuid, { cascade: true, usedBy: running }), refused);
  assert.equal(store.images.count(), 3);
  assert.deepEqual(store.images.delete(root.uuid, { cascade: true, usedBy: nobody }), [
    grandchild.uuid,
    child.uuid,
    root.uuid,
  ]);
  assert.equal(store.images.count(), 0);
  assert.equal(store.tags.find('x'), undefined);
});

test('findRoot() finds the same layers with the same configuration only', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const image = await addImage(store);
  assert.equal(store.images.findRoot(image.layers, EMPTY_IMAGE_CONFIG)?.uuid, image.uuid);
  assert.equal(store.images.findRoot(image.layers, { ...EMPTY_IMAGE_CONFIG, cwd: '/x' }), undefined);
  assert.equal(store.images.findRoot([...image.layers, ...image.layers], EMPTY_IMAGE_CONFIG), undefined);
});

test('an image needs layers that exist', async () => {
  await using bench = await openStore();
  const { digest } = await addLayer(bench.store);
  const missing = digest.replace(/./u, (first) => (first === '0' ? '1' : '0'));
  assert.throws(() => bench.store.images.create({ layers: [missing], config: EMPTY_IMAGE_CONFIG }), /FOREIGN KEY/u);
  assert.equal(bench.store.images.count(), 0);
});

test('replacing layers reaches all images on the same layers, and no others', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const parent = await addImage(store, await addImage(store));
  const [bottom = '', top = ''] = parent.layers;
  const child = await addImage(store, parent);
  const elsewhere = store.images.create({ layers: [top, bottom, top], config: EMPTY_IMAGE_CONFIG });
  const { digest: merged } = await addLayer(store);
  store.stacks.replace(parent.layers, [merged]);
  assert.deepEqual(store.images.get(parent.uuid).layers, [merged]);
  assert.deepEqual(store.images.get(child.uuid).layers, [merged, child.layers[2]]);
  assert.deepEqual(store.images.get(parent.parent ?? '').layers, [bottom]);
  assert.deepEqual(store.images.get(elsewhere.uuid).layers, [top, bottom, top]);
  assert.equal(store.images.findRoot([top, bottom, top], EMPTY_IMAGE_CONFIG)?.uuid, elsewhere.uuid);
});
