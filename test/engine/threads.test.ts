import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { openEngine } from './bench.ts';

/** Layers of a data directory that some thread of this process has open, those that were removed included. */
function openLayers(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(directory) && target.includes('layer') ? [target] : [];
    } catch {
      // It was the descriptor of the listing itself, or has been closed meanwhile.
      return [];
    }
  });
}

test('a thread keeps the layers it has searched open, and closes them when they are collected', async () => {
  await using bench = await openEngine();
  const { engine, base, directory } = bench;
  const search = { pattern: ['root'], path: ['/etc/passwd'] };
  await engine.files.grep(base.uuid, search);
  const kept = openLayers(directory);
  assert.ok(kept.length > 0);
  await engine.files.grep(base.uuid, search);
  assert.deepEqual(openLayers(directory), kept);
  await engine.images.delete(base.uuid);
  assert.equal((await engine.system.gc({ older_than_days: -1 })).layers, 1);
  while (openLayers(directory).length > 0) await new Promise(setImmediate);
});
