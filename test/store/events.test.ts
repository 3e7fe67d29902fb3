import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import type { StoredEvent } from '../../src/store/log/event-rows.ts';
import { Store } from '../../src/store/store.ts';
import { openStore, scratch } from './bench.ts';
import { startCpuWatch } from '../support/time/stopwatch.ts';

const COMPLETION = {
  status: 'SUCCESS',
  duration_ms: 1,
  result_image_uuid: null,
  error: null,
  image_size_bytes: null,
} as const;

function operation(store: Store): string {
  return store.operations.create({ kind: 'instance', request: '{}' });
}

function output(store: Store, uuid: string, offset: number, text: string): void {
  store.events.appendOutput(uuid, { spid: 1, stream: 'stdout', offset, bytes: Buffer.from(text) });
}

function otherOutput(store: Store, uuid: string, offset: number, text: string): void {
  store.events.appendOutput(uuid, { spid: 2, stream: 'stdout', offset, bytes: Buffer.from(text) });
}

async function all(events: AsyncIterable<StoredEvent>): Promise<StoredEvent[]> {
  const found: StoredEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

const brief = (event: StoredEvent): unknown[] =>
  'bytes' in event ? [event.id, event.type, event.offset, Buffer.from(event.bytes).toString()] : [event.id, event.type];

test('events are numbered from 0 per operation, and what a stream writes at once is one event', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const [first, second] = [operation(store), operation(store)];
  store.events.append(first, 0, 'shutdown', { stopped_at: 'now', reason: 'test' });
  output(store, first, 0, 'ab');
  output(store, first, 2, 'cd');
  output(store, second, 0, 'x');
  store.events.append(first, 0, 'shutdown', { stopped_at: 'now', reason: 'test' });
  output(store, first, 4, 'ef');
  otherOutput(store, first, 0, 'gh');
  assert.deepEqual(store.events.page(first, -1).map(brief), [
    [0, 'shutdown'],
    [1, 'stdout', 0, 'abcd'],
    [2, 'shutdown'],
    [3, 'stdout', 4, 'ef'],
    [4, 'stdout', 0, 'gh'],
  ]);
  assert.deepEqual(store.events.page(second, -1).map(brief), [[0, 'stdout', 0, 'x']]);
  assert.deepEqual(store.events.page(first, 3).map(brief), [[4, 'stdout', 0, 'gh']]);
});

test('a log goes on with the next number after the store was opened again', async () => {
  await using place = await scratch();
  const first = await Store.open(place.path);
  const uuid = operation(first);
  output(first, uuid, 0, 'a');
  await first[Symbol.asyncDispose]();
  await using second = await Store.open(place.path);
  second.events.append(uuid, 0, 'completion', COMPLETION);
  assert.deepEqual(second.events.page(uuid, -1).map(brief), [
    [0, 'stdout', 0, 'a'],
    [1, 'completion'],
  ]);
});

test('output is joined only with what comes right before it, of the same operation and stream, up to the largest event', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const [first, second] = [operation(store), operation(store)];
  output(store, first, 0, 'a');
  output(store, second, 1, 'b');
  output(store, first, 1, 'c');
  store.events.appendOutput(first, { spid: 1, stream: 'stderr', offset: 2, bytes: Buffer.from('d') });
  output(store, first, 2, 'e');
  output(store, first, 9, 'f');
  assert.deepEqual(store.events.page(second, -1).map(brief), [[0, 'stdout', 1, 'b']]);
  assert.deepEqual(store.events.page(first, -1).map(brief), [
    [0, 'stdout', 0, 'a'],
    [1, 'stdout', 1, 'c'],
    [2, 'stderr', 2, 'd'],
    [3, 'stdout', 2, 'e'],
    [4, 'stdout', 9, 'f'],
  ]);
  const most = limits.outputEventBytesMax;
  const third = operation(store);
  output(store, third, 0, 'x');
  output(store, third, 1, 'x'.repeat(most - 1));
  output(store, third, most, 'y');
  const lengths = store.events.page(third, -1).map((event) => 'bytes' in event && event.bytes.byteLength);
  assert.deepEqual(lengths, [most, 1]);
});

test('followers see every event once, in order, and end with the completion', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = operation(store);
  const count = 1_000;
  const followers = [-1, -1, 500].map((since) => all(store.events.read(uuid, { since, follow: true })));
  for (let id = 0; id < count; id += 1) {
    store.events.append(uuid, 0, 'shutdown', { stopped_at: String(id), reason: 'test' });
    if (id % 100 === 0) await new Promise(setImmediate);
  }
  store.events.append(uuid, 0, 'completion', COMPLETION);
  const [left, right, late] = await Promise.all(followers);
  assert.deepEqual(
    left?.map(({ id }) => id),
    Array.from({ length: count + 1 }, (_, id) => id),
  );
  assert.deepEqual(right, left);
  assert.deepEqual(late, left?.slice(501));
  assert.deepEqual(
    await all(store.events.read(uuid, { since: -1, follow: true })),
    left,
    'replay is the same as following',
  );
  assert.deepEqual(
    await all(store.events.read(uuid, { since: 9_999, follow: true })),
    [],
    'after the end nothing comes',
  );
  assert.deepEqual(await all(store.events.read(uuid, { since: count - 1, follow: false })), left?.slice(count));
});

test('a follower ends when its signal does, and leaves nothing behind', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = operation(store);
  const stop = new AbortController();
  const following = all(store.events.read(uuid, { since: -1, follow: true }, stop.signal));
  output(store, uuid, 0, 'a');
  stop.abort(new Error('enough'));
  await assert.rejects(following, /enough/u);
  await assert.rejects(all(store.events.read(uuid, { since: -1, follow: true }, stop.signal)), /enough/u);
  output(store, uuid, 1, 'b');
  assert.deepEqual(store.events.page(uuid, -1).map(brief), [[0, 'stdout', 0, 'ab']]);
});

test('closing the store ends its followers', async () => {
  const bench = await openStore();
  const uuid = operation(bench.store);
  const following = all(bench.store.events.read(uuid, { since: -1, follow: true }));
  const ended = assert.rejects(following, { code: 'ENGINE_UNAVAILABLE' });
  await bench[Symbol.asyncDispose]();
  await ended;
});

test('ofProcess() gives one process, its output up to a bound', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = operation(store);
  for (let at = 0; at < 10; at += 1) {
    output(store, uuid, at * 3, 'abc');
    otherOutput(store, uuid, at * 3, 'xyz');
  }
  assert.deepEqual(store.events.ofProcess(uuid, 1, 7).map(brief), [
    [0, 'stdout', 0, 'abc'],
    [2, 'stdout', 3, 'abc'],
    [4, 'stdout', 6, 'abc'],
  ]);
});

test('ofProcess() gives both ends of each stream, with work that grows with the log and not with its square', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = operation(store);
  const count = 20_000;
  for (let at = 0; at < count; at += 1) {
    // Two processes take turns, so that each write is a separate event.
    output(store, uuid, at, 'a');
    otherOutput(store, uuid, at, 'x');
  }
  store.events.flush();
  const cpuMs = startCpuWatch();
  const found = store.events.ofProcess(uuid, 1, 2, true).map(brief);
  const tookMs = cpuMs();
  assert.deepEqual(
    found.map(([, , offset]) => offset),
    [0, 1, count - 3, count - 2, count - 1],
  );
  assert.ok(tookMs < 2_000, `${tookMs} ms`);
});

test('all who follow a log see all of it in order, whenever they come', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = operation(store);
  const followers: Promise<StoredEvent[]>[] = [];
  const text = (index: number): string => `line ${String(index).padStart(2, '0')}\n`;
  for (let index = 0; index < 40; index += 1) {
    followers.push(all(store.events.read(uuid, { since: -1, follow: true })));
    output(store, uuid, index * text(0).length, text(index));
    store.events.flush();
    if (index % 3 === 0) await new Promise(setImmediate);
  }
  store.events.append(uuid, 0, 'completion', COMPLETION);
  store.events.flush();
  const expected = [...Array.from({ length: 40 }, (_, index) => text(index)), 'completion'];
  for (const seen of await Promise.all(followers)) {
    assert.deepEqual(
      seen.map((event) => ('bytes' in event ? Buffer.from(event.bytes).toString() : event.type)),
      expected,
    );
  }
});

test('output that a full disk has no room for is given up, and its place says how much of each stream', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = operation(store);
  output(store, uuid, 0, 'kept');
  store.events.flush();
  output(store, uuid, 4, 'lost');
  otherOutput(store, uuid, 0, 'lo');
  output(store, uuid, 8, 'st');
  store.events.append(uuid, 0, 'completion', COMPLETION);
  store.events.dropQueuedOutput();
  const lost = (spid: number, bytes_emitted: number, bytes_dropped: number): unknown[] => [
    spid,
    { stream: 'stdout', bytes_emitted, bytes_dropped, bytes_kept: bytes_emitted },
  ];
  const [kept, ...rest] = store.events.page(uuid, -1);
  assert.deepEqual(brief(kept!), [0, 'stdout', 0, 'kept']);
  assert.deepEqual(
    rest.map((event) => ('data' in event ? [event.spid, event.data] : [])),
    [lost(1, 4, 6), lost(2, 0, 2), [0, COMPLETION]],
  );
});

test('a follower of one process ends with the operation, even if its sandbox says something later', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = operation(store);
  const reading = all(store.events.read(uuid, { since: -1, follow: true, spid: 2 }));
  const output = (spid: number): boolean =>
    store.events.appendOutput(uuid, { spid, stream: 'stdout', offset: 0, bytes: Buffer.from('x') });
  output(2);
  output(3);
  store.events.append(uuid, 0, 'completion', COMPLETION);
  store.events.append(uuid, 3, 'stdin', { value: '', encoding: 'ascii' });
  store.events.flush();
  assert.deepEqual((await reading).map(brief), [[0, 'stdout', 0, 'x']]);
});
