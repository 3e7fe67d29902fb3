import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GcReport, GcRequest } from '../../src/contract/server.ts';
import { ImageTrees } from '../../src/engine/image-trees.ts';
import { Housekeeping, type HousekeepingPolicy } from '../../src/engine/housekeeping.ts';
import { SILENT_LOG } from '../../src/engine/log.ts';
import { Operations } from '../../src/engine/operations.ts';
import { Statistics } from '../../src/engine/statistics.ts';
import { ReaderPool } from '../../src/erofs/reader-pool.ts';
import type { DriverCollection, DriverGarbage, SandboxDriver } from '../../src/sandbox/driver.ts';
import { FakeDriver } from '../support/fake-sandbox/driver.ts';
import { addImage, body, openStore, type StoreBench } from '../store/bench.ts';

const HOUR_MS = 3_600_000;

/** Housekeeping of a store with a scripted clock. */
function keep(
  bench: StoreBench,
  policy: HousekeepingPolicy,
  driver: Pick<SandboxDriver, 'collect'> = new FakeDriver(),
) {
  const { store } = bench;
  const readers = new ReaderPool();
  const threads = { renew: () => undefined };
  const parts = { store, driver, readers, trees: new ImageTrees(readers), threads, log: SILENT_LOG };
  const operations = new Operations(store, SILENT_LOG, new Statistics());
  let aheadMs = 0;
  const housekeeping = new Housekeeping({ ...parts, operations }, policy, () => Date.now() + aheadMs);
  return {
    collect: (request: GcRequest): Promise<GcReport> => housekeeping.collect(request),
    /** Advances the clock and runs a check. */
    look: async (hours: number): Promise<void> => {
      aheadMs += hours * HOUR_MS;
      housekeeping.look();
      await housekeeping.settled();
    },
    [Symbol.asyncDispose]: async () => {
      await housekeeping[Symbol.asyncDispose]();
      await readers[Symbol.asyncDispose]();
    },
  };
}

test('what is old goes by itself, looked for every six hours', async () => {
  await using bench = await openStore();
  await using housekeeping = keep(bench, { unusedDays: 1 });
  const { store } = bench;
  const image = await addImage(store);
  const first = await store.files.write(body('first'));
  await housekeeping.look(23);
  assert.ok(store.files.find(first.sha256), 'it is not a day old');
  await housekeeping.look(2);
  assert.ok(store.files.find(first.sha256), 'it is, but two hours after the last time nobody looks');
  await housekeeping.look(5);
  assert.equal(store.files.find(first.sha256), undefined);
  assert.ok(store.images.find(image.uuid), 'images do not go by age');
});

test('with 0 days and no size nothing goes', async () => {
  await using bench = await openStore();
  await using housekeeping = keep(bench, { unusedDays: 0 });
  const { sha256 } = await bench.store.files.write(body('kept'));
  await housekeeping.look(24 * 365);
  assert.ok(bench.store.files.find(sha256));
});

test('above its size the store loses what was unused for longest, never what is tagged or an hour young', async () => {
  await using bench = await openStore();
  const { store } = bench;
  await using housekeeping = keep(bench, { unusedDays: 0, bytesMax: 2 * 4096 });
  const [tagged, parent] = [await addImage(store), await addImage(store)];
  const child = await addImage(store, parent);
  store.tags.set('tagged', tagged.uuid);
  const upload = await store.files.write(body('an upload'));
  const left = (): string[] => store.images.list({}).map(({ uuid }) => uuid);
  await housekeeping.look(0);
  assert.deepEqual(left(), [child.uuid, parent.uuid, tagged.uuid], 'all of it is young');
  assert.ok(store.files.find(upload.sha256));
  const late = await addImage(store);
  await housekeeping.look(2);
  assert.ok(store.bytes() <= 2 * 4096, `${store.bytes()} bytes are left`);
  assert.equal(store.files.find(upload.sha256), undefined, 'caches go first');
  assert.ok(left().includes(tagged.uuid));
  assert.ok(!left().includes(child.uuid), 'the oldest leaf goes, then its parent');
  assert.ok(left().includes(late.uuid), 'the store is small enough before its turn comes');
});

test('templates of the driver are part of the report; unasked, only what was unused for an hour goes', async () => {
  await using bench = await openStore();
  const requests: DriverCollection[] = [];
  const driver = {
    collect: async (request: DriverCollection): Promise<DriverGarbage> => {
      requests.push(request);
      const freed = { memoryBytes: 80, diskBytes: 20 };
      return { templates: 1, freed, used: { memoryBytes: 160, diskBytes: 40 } };
    },
  };
  await using housekeeping = keep(bench, { unusedDays: 1 }, driver);
  const report = await housekeeping.collect({ older_than_days: 2, dry_run: true });
  const { templates, freed_bytes: freedBytes, freed_memory_bytes: memory, used_memory_bytes: used, usage } = report;
  assert.deepEqual([templates, freedBytes, memory, used], [1, 20, 80, 160]);
  assert.deepEqual(usage, [{ what: 'templates of microVMs', bytes: 40 }]);
  const [asked] = requests;
  assert.ok(asked!.dryRun && asked!.memoryUnusedSinceMs > Date.now(), 'asked, memory goes whatever its age');
  assert.ok(Math.abs(Date.now() - 48 * HOUR_MS - asked!.filesUnusedSinceMs) < HOUR_MS);
  await housekeeping.look(0);
  const [, unasked] = requests;
  assert.ok(!unasked!.dryRun && Math.abs(Date.now() - HOUR_MS - unasked!.memoryUnusedSinceMs) < HOUR_MS / 2);
});
