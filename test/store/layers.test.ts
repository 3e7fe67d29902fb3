import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import type { Store } from '../../src/store/store.ts';
import type { DamagedLayer } from '../../src/store/layers.ts';
import { addImage, addLayer, openStore } from './bench.ts';

async function damaged(store: Store): Promise<DamagedLayer[]> {
  const found: DamagedLayer[] = [];
  for await (const layer of store.layers.verify(AbortSignal.timeout(10_000))) found.push(layer);
  return found;
}

/** Changes one bit and restores the times, so that only hashing can tell. */
async function flipBit(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[100]! ^= 1;
  await chmod(path, 0o644);
  await writeFile(path, bytes);
}

test('the same content is one layer, found by digest and by what it was made from', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const first = await addLayer(store, 'same', 'oci:sha256:aa');
  const second = await addLayer(store, 'same', 'oci:sha256:bb');
  assert.deepEqual(second, first);
  assert.deepEqual(store.layers.usage(), { count: 1, bytes: 4096 });
  assert.deepEqual(store.layers.find(first.digest), first);
  assert.deepEqual(store.layers.findByChain('sha256:aa'), first);
  assert.deepEqual(store.layers.findByChain('sha256:bb'), first);
  assert.equal(store.layers.findByChain('sha256:cc'), undefined);
  assert.equal(store.layers.find('0'.repeat(64)), undefined);
  assert.deepEqual(await readdir(store.tmp), []);
});

test('a layer that was written to is hashed before it is served, and not served when damaged', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const image = await addImage(store);
  const digest = image.layers[0]!;
  const { path } = await store.layers.file(digest);
  await utimes(path, 1, 1);
  assert.equal((await store.layers.file(digest)).path, path, 'touched but whole');
  await flipBit(path);
  await assert.rejects(store.layers.file(digest), (error) => isFault(error, 'STORE_CORRUPT'));
  await assert.rejects(store.layers.file(digest), (error) => isFault(error, 'STORE_CORRUPT'), 'remembered');
  assert.equal(store.layers.find(digest), undefined);
});

test('the key of layers is that of their files, and gone once one was touched, is damaged or unknown', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const [digest = ''] = (await addImage(store)).layers;
  const { path } = await store.layers.file(digest);
  const key = store.layers.versions([digest]);
  assert.ok(key?.startsWith(`${digest}:`));
  assert.equal(store.layers.versions([digest]), key);
  assert.equal(store.layers.versions([digest, '0'.repeat(64)]), undefined);
  await utimes(path, 1, 1);
  assert.equal(store.layers.versions([digest]), undefined, 'touched');
  await store.layers.file(digest);
  assert.notEqual(store.layers.versions([digest]), undefined, 'checked again');
  assert.notEqual(store.layers.versions([digest]), key);
  await flipBit(path);
  await assert.rejects(store.layers.file(digest), (error) => isFault(error, 'STORE_CORRUPT'));
  assert.equal(store.layers.versions([digest]), undefined, 'damaged');
});

test('a layer that was written to is found out even when its time of modification was set back', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const image = await addImage(store);
  const { path } = await store.layers.file(image.layers[0]!);
  const before = `${path}.before`;
  execFileSync('cp', ['-p', path, before]);
  await flipBit(path);
  // With nanoseconds, which Node's utimes() cannot set.
  execFileSync('touch', ['-r', before, path]);
  assert.equal((await stat(path, { bigint: true })).mtimeNs, (await stat(before, { bigint: true })).mtimeNs);
  await assert.rejects(store.layers.file(image.layers[0]!), (error) => isFault(error, 'STORE_CORRUPT'));
});

test('verify() names what is damaged and who needs it; publishing the content again heals it', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const image = await addImage(store);
  const other = await addLayer(store, 'other', 'oci:sha256:other');
  assert.deepEqual(await damaged(store), []);
  await rm(store.layers.pathOf(image.layers[0]!));
  await flipBit(store.layers.pathOf(other.digest));
  const found = (await damaged(store)).toSorted((left, right) => left.images.length - right.images.length);
  assert.deepEqual(
    found.map(({ digest, images }) => [digest, images]),
    [
      [other.digest, []],
      [image.layers[0], [image.uuid]],
    ],
  );
  assert.match(found[0]!.reason, /its content has digest/u);
  assert.equal(found[1]!.reason, 'the file is missing');
  assert.equal(store.layers.findByChain('sha256:other'), undefined, 'an import makes it again');
  await addLayer(store, 'other');
  assert.equal((await store.layers.file(other.digest)).bytes, 4096);
  assert.equal((await damaged(store)).length, 1);
});

test('what is staged and not published leaves nothing', async () => {
  await using bench = await openStore();
  {
    await using staged = bench.store.layers.stage();
    await writeFile(staged.path, 'half');
    assert.equal((await readdir(bench.store.tmp)).length, 1);
  }
  assert.deepEqual(await readdir(bench.store.tmp), []);
  assert.deepEqual(await readdir(join(bench.directory, 'layers')), []);
});
