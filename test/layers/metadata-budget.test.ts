import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetadataBudget, MetadataShare } from '../../src/layers/metadata-budget.ts';

const BOUNDS = { bytesMax: 100, bytesFree: 10 };

test('a small layer never waits, the oldest large one neither, and others wait until memory is given back', async () => {
  const budget = new MetadataBudget(BOUNDS);
  const [first, second, small] = [new MetadataShare(budget), new MetadataShare(budget), new MetadataShare(budget)];
  assert.equal(first.take(100), undefined);
  assert.equal(second.take(20), undefined, 'both together have 100 beyond what is free');
  let isThere = false;
  const waiting = second.take(1)?.then(() => (isThere = true));
  assert.ok(waiting);
  assert.equal(small.take(10), undefined);
  assert.equal(first.take(1_000), undefined, 'more than all, so that it ends');
  await new Promise(setImmediate);
  assert.equal(isThere, false);
  first[Symbol.dispose]();
  await waiting;
  const third = new MetadataShare(budget);
  assert.ok(third.take(100), 'what the second has counts');
  assert.equal(second.take(500), undefined, 'it is the oldest now');
});

test('a wait ends with its signal, and what was waited for is not taken', async () => {
  const budget = new MetadataBudget(BOUNDS);
  const stop = new AbortController();
  const first = new MetadataShare(budget);
  const given = new MetadataShare(budget, stop.signal);
  void first.take(110);
  const waiting = given.take(20);
  stop.abort(new Error('enough'));
  await assert.rejects(async () => waiting, /enough/u);
  given[Symbol.dispose]();
  first[Symbol.dispose]();
  const [next, other] = [new MetadataShare(budget), new MetadataShare(budget)];
  assert.equal(next.take(20), undefined);
  assert.equal(other.take(100), undefined);
});
