import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { CollectionRequest, StoreReport } from '../../src/store/gc/gc.ts';
import type { Store } from '../../src/store/store.ts';
import { addImage, addLayer, body, openStore } from './bench.ts';

/** Everything unused counts as old. */
function collect(store: Store, more: Partial<CollectionRequest> = {}): Promise<StoreReport> {
  return store.gc({ unusedSinceMs: Date.now() + 1_000, dryRun: false, usedBy: () => undefined, ...more });
}

const layersOn = (directory: string): Promise<string[]> => readdir(join(directory, 'layers'));

test('gc frees layers no image uses, and reports what it freed and what is left', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const [kept, doomed] = [await addImage(store), await addImage(store)];
  store.tags.set('kept', kept.uuid);
  store.images.delete(doomed.uuid, { cascade: false, usedBy: () => undefined });
  const dry = await collect(store, { dryRun: true });
  assert.equal((await layersOn(bench.directory)).length, 2, 'a dry run touches nothing');
  const report = await collect(store);
  assert.deepEqual(report, dry);
  assert.deepEqual([report.images, report.layers, report.freed_bytes], [0, 1, 4096]);
  assert.match(report.usage[0]!.what, /^layer [0-9a-f]{12} of 1 image, for example kept$/u);
  assert.deepEqual(await layersOn(bench.directory), kept.layers);
  assert.deepEqual(await readdir(store.tmp), []);
  assert.equal((await collect(store)).layers, 0);
});

test('gc leaves alone what was looked up or published since a hold began', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const before = await addLayer(store);
  {
    using _hold = store.hold();
    const published = await addLayer(store);
    const file = await store.files.write(body('held'));
    assert.equal((await collect(store)).layers, 1, 'what was there before and not looked at goes');
    assert.equal(store.layers.find(before.digest), undefined);
    assert.ok(store.layers.find(published.digest));
    assert.ok(store.files.find(file.sha256));
  }
  const report = await collect(store);
  assert.deepEqual([report.layers, report.files], [1, 1]);
  assert.deepEqual(await layersOn(bench.directory), []);
});

test('gc drops uploads and states nobody used since, files with their states', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const loose = await store.files.write(body('loose'));
  const used = await store.files.write(body('used'));
  const { state } = await store.states.offer([{ path: '/x', sha256: used.sha256, mode: 0o644 }]);
  const young = await collect(store, { unusedSinceMs: Date.now() - 60_000 });
  assert.equal(young.files, 0);
  const old = await collect(store);
  assert.equal(old.files, 2);
  assert.equal(store.files.find(loose.uuid), undefined);
  await assert.rejects(store.states.entries(state!.id), { code: 'DIRECTORY_STATE_NOT_FOUND' });
  assert.deepEqual(await readdir(join(bench.directory, 'files')), []);
});

test('gc keeps the layers of injected files while they are used', async () => {
  await using bench = await openStore();
  const { store } = bench;
  await addLayer(store, 'injected', 'files:abc');
  await addLayer(store, 'imported', 'oci:sha256:abc');
  assert.equal((await collect(store, { unusedSinceMs: Date.now() - 60_000 })).layers, 1);
  assert.ok(store.layers.findBySource('files:abc'));
  assert.equal((await collect(store)).layers, 1);
});

test('gc drops output of old operations and keeps how they went', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = store.operations.create({ kind: 'instance', request: '{}' });
  store.events.appendOutput(uuid, { spid: 1, stream: 'stdout', offset: 0, bytes: Buffer.from('old output') });
  store.events.append(uuid, 0, 'shutdown', { stopped_at: 'now', reason: 'test' });
  assert.equal((await collect(store)).events, 0, 'it has not ended');
  store.operations.finish(uuid, { status: 'SUCCESS' });
  const report = await collect(store);
  assert.deepEqual([report.events, report.freed_bytes], [1, 10]);
  assert.deepEqual(
    store.events.page(uuid, -1).map(({ id, type }) => [id, type]),
    [[1, 'shutdown']],
  );
  assert.equal(store.operations.get(uuid).outputDropped, true);
});

test('gc with a size takes untagged leaves, oldest first, until the rest fits', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const root = await addImage(store);
  const child = await addImage(store, root);
  const tagged = await addImage(store);
  const running = await addImage(store);
  const last = await addImage(store);
  store.tags.set('tagged', tagged.uuid);
  const usedBy = (image: string): string | undefined => (image === running.uuid ? 'operation 1' : undefined);
  const report = await collect(store, { bytesMax: 3 * 4096, usedBy });
  assert.deepEqual([report.images, report.layers], [2, 2]);
  const left = store.images.list({}).map(({ uuid }) => uuid);
  assert.deepEqual(left, [last.uuid, running.uuid, tagged.uuid]);
  assert.ok(!left.includes(child.uuid), 'the child went first, then its parent was a leaf');
});

test('gc removes what a crash left without a row, once it is old', async () => {
  await using bench = await openStore();
  const leftover = join(bench.directory, 'layers', 'f'.repeat(64));
  await writeFile(leftover, 'orphan');
  await collect(bench.store);
  assert.equal((await layersOn(bench.directory)).length, 1, 'it may be one that is just being published');
  // Slightly older than now, because the clocks of files and of programs differ.
  await collect(bench.store, { orphanAgeMs: -1_000 });
  assert.deepEqual(await layersOn(bench.directory), []);
});
