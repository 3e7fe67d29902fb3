import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LayerBlob } from '../../src/store/blobs.ts';
import { addLayer, openStore } from './bench.ts';

function blob(digit: string, registry = 'r.example'): LayerBlob {
  const digest = `sha256:${digit.repeat(64)}` as const;
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  return { digest, diffId: `sha256:${'f'.repeat(64)}`, mediaType, bytes: 100, registry, repository: 'a' };
}

test('a blob is found where its layer lies, what is known for longest first, and nowhere else', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const { digest: layer } = await addLayer(store);
  const bottom = { below: undefined, layer };
  store.blobs.remember(bottom, blob('1'));
  store.blobs.remember(bottom, blob('2'));
  assert.deepEqual(store.blobs.find(bottom), [blob('1'), blob('2')]);
  assert.deepEqual(store.blobs.find({ below: `sha256:${'a'.repeat(64)}`, layer }), []);
  assert.deepEqual(store.forProject('other').blobs.find(bottom), [], 'the name of a blob can be a right to it');
});

test('of a blob the last registry that had it is remembered, and it keeps its place', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const place = { below: `sha256:${'a'.repeat(64)}`, layer: (await addLayer(store)).digest };
  for (const one of [blob('1'), blob('2'), blob('1', 'other.example')]) store.blobs.remember(place, one);
  assert.deepEqual(store.blobs.find(place), [blob('1', 'other.example'), blob('2')]);
});

test('no more than eight blobs of a layer are given, and they go with it', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const place = { below: undefined, layer: (await addLayer(store)).digest };
  for (const digit of '123456789') store.blobs.remember(place, blob(digit));
  assert.deepEqual(
    store.blobs.find(place).map(({ digest }) => digest.at(-1)),
    Array.from('12345678'),
  );
  await store.gc({ unusedSinceMs: Date.now() + 1_000, dryRun: false, usedBy: () => undefined });
  assert.deepEqual(store.blobs.find(place), []);
});
