import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB, usedBytes } from '../support/memory.ts';
import { openEngine, run, script } from './bench.ts';

test('a finished operation costs the engine no memory', async () => {
  await using bench = await openEngine({ concurrency: 4 });
  const rounds = async (count: number): Promise<number> => {
    for (let at = 0; at < count; at += 10) {
      const runs = Array.from({ length: 10 }, () =>
        run(bench.engine, script(bench, 'flood 20000', { disposable: true })),
      );
      for (const { status } of await Promise.all(runs)) assert.equal(status, 'SUCCESS');
    }
    return usedBytes();
  };
  const before = await rounds(100);
  const grown = (await rounds(1_000)) - before;
  const { rss } = process.memoryUsage();
  assert.ok(grown < 8 * MIB, `1,000 operations cost ${(grown / MIB).toFixed(1)} MiB`);
  assert.ok(rss < 250 * MIB, `${Math.round(rss / MIB)} MiB with 1,100 finished operations`);
  assert.equal((await bench.engine.operations.list({ limit: 1_000 })).length, 1_000);
});

test('output that passes through costs no memory', async () => {
  await using bench = await openEngine();
  await run(bench.engine, script(bench, 'flood 10000000', { disposable: true }));
  const before = process.memoryUsage().rss;
  const operation = await run(bench.engine, script(bench, 'flood 1000000000', { disposable: true }));
  assert.equal(operation.status, 'SUCCESS');
  const grown = process.memoryUsage().rss - before;
  // Garbage counts too; retained output would be a thousand times as much.
  assert.ok(grown < 200 * MIB, `1 GB of output cost ${Math.round(grown / MIB)} MiB`);
});
