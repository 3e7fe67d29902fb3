import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { sortInTurns } from '../../src/std/sort-in-turns.ts';

test('the order is that of a stable sort', async () => {
  const pairs = fc.array(fc.tuple(fc.integer({ min: 0, max: 50 }), fc.integer()), { maxLength: 5_000, size: 'max' });
  const compare = ([left]: [number, number], [right]: [number, number]): number => left - right;
  await fc.assert(
    fc.asyncProperty(pairs, async (values) => {
      assert.deepEqual(await sortInTurns(values, compare), values.toSorted(compare));
    }),
    { numRuns: 20 },
  );
});

test('others get their turn while much is sorted', async () => {
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 1);
  const values = Array.from({ length: 300_000 }, (_, at) => (at * 7_919) % 300_007);
  const sorted = await sortInTurns(values, (left, right) => left - right);
  clearInterval(timer);
  assert.deepEqual([sorted[0], sorted.length], [0, 300_000]);
  assert.ok(turns > 10, `${turns} turns`);
});
