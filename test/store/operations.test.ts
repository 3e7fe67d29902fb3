import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { Store } from '../../src/store/store.ts';
import { openStore, scratch } from './bench.ts';

test('an operation goes through its states once and in order', async () => {
  await using bench = await openStore();
  const { operations } = bench.store;
  const uuid = operations.create({ kind: 'instance', request: '{"command":"true"}' });
  assert.deepEqual([operations.get(uuid).status, operations.get(uuid).startedAtMs], ['PENDING', null]);
  assert.throws(() => operations.execute(uuid), /is 'ASSIGNED'/u);
  operations.assign(uuid);
  const { startedAtMs } = operations.get(uuid);
  assert.ok(startedAtMs !== null);
  assert.throws(() => operations.assign(uuid), /is 'PENDING'/u);
  operations.execute(uuid);
  assert.deepEqual([operations.get(uuid).status, operations.get(uuid).startedAtMs], ['EXECUTING', startedAtMs]);
  operations.finish(uuid, { status: 'FAILED', error: 'gone', errorCode: 'GUEST_LOST' });
  const ended = operations.get(uuid);
  assert.deepEqual([ended.status, ended.error, ended.errorCode], ['FAILED', 'gone', 'GUEST_LOST']);
  assert.ok(ended.finishedAtMs !== null && ended.finishedAtMs >= startedAtMs);
  assert.throws(() => operations.finish(uuid, { status: 'SUCCESS' }), /ends once/u);
  assert.equal(operations.get(uuid).status, 'FAILED');
});

test('lists are filtered by state, kind and time, both ends included, newest first in pages', async () => {
  await using bench = await openStore();
  const { operations } = bench.store;
  const made: string[] = [];
  for (const kind of ['instance', 'image_import', 'instance'] as const) {
    made.unshift(operations.create({ kind, request: '{}' }));
    const now = Date.now();
    while (Date.now() === now) await new Promise(setImmediate);
  }
  const [newest, middle, oldest] = made.map((uuid) => operations.get(uuid));
  const uuids = (query: Parameters<typeof operations.list>[0]): string[] =>
    operations.list(query).map(({ uuid }) => uuid);
  assert.deepEqual(uuids({}), made);
  assert.deepEqual([uuids({ limit: 1 }), uuids({ limit: 1, offset: 2 })], [[newest!.uuid], [oldest!.uuid]]);
  assert.deepEqual(uuids({ kind: 'image_import' }), [middle!.uuid]);
  assert.deepEqual(uuids({ since: new Date(middle!.createdAtMs) }), [newest!.uuid, middle!.uuid]);
  assert.deepEqual(uuids({ until: new Date(middle!.createdAtMs) }), [middle!.uuid, oldest!.uuid]);
  operations.finish(oldest!.uuid, { status: 'CANCELLED' });
  assert.deepEqual([uuids({ status: 'CANCELLED' }), uuids({ status: 'EXECUTING' })], [[oldest!.uuid], []]);
  assert.deepEqual(operations.counts(), { CANCELLED: 1, PENDING: 2 });
  assert.deepEqual(
    bench.store.unfinished().map(({ uuid }) => uuid),
    [middle!.uuid, newest!.uuid],
    'the oldest first',
  );
});

test('a row that was damaged on disk is named, and the others are still read', async () => {
  await using place = await scratch();
  const first = await Store.open(place.path);
  const [whole, broken, odd] = [1, 2, 3].map(() => first.operations.create({ kind: 'instance', request: '{}' }));
  await first[Symbol.asyncDispose]();
  const database = new DatabaseSync(join(place.path, 'store.sqlite'));
  database.prepare('UPDATE operations SET outcome = ? WHERE uuid = ?').run('{', broken!);
  database.prepare('UPDATE operations SET status = ? WHERE uuid = ?').run('NEW', odd!);
  database.close();
  await using store = await Store.open(place.path);
  assert.equal(store.operations.get(whole!).status, 'PENDING');
  const damaged = { code: 'STORE_CORRUPT' };
  assert.throws(() => store.operations.get(broken!), { ...damaged, message: /outcome of operation .* not JSON/u });
  assert.throws(() => store.operations.get(odd!), damaged);
});
