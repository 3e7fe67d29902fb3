import assert from 'node:assert/strict';
import { PerformanceObserver } from 'node:perf_hooks';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Leftovers } from '../../src/std/leftovers.ts';

const MIB = 1024 * 1024;

test('leftovers are given back to the system, and looked for again only when there are more', async () => {
  const collections: number[] = [];
  const observer = new PerformanceObserver((list) =>
    collections.push(...list.getEntries().map(({ startTime }) => startTime)),
  );
  observer.observe({ entryTypes: ['gc'] });
  const leftovers = new Leftovers();
  const before = useAndLeave(200);
  leftovers.clear();
  const given = before - process.memoryUsage.rss();
  assert.ok(given > 100 * MIB, `${(given / MIB).toFixed(0)} of 200 MiB were given back`);
  await delay(50);
  const counted = collections.length;
  leftovers.clear();
  await delay(50);
  assert.equal(collections.length, counted, 'nothing to give back, no pause');
  useAndLeave(100);
  leftovers.clear();
  await delay(50);
  assert.ok(collections.length > counted);
  observer.disconnect();
});

/** Uses so much memory and lets go of it; returns the resident bytes while it was used. */
function useAndLeave(mib: number): number {
  const used = Array.from({ length: mib }, (_, index) => Buffer.alloc(MIB, index + 1));
  const resident = process.memoryUsage.rss();
  return used.length === mib ? resident : 0;
}
