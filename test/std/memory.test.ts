import assert from 'node:assert/strict';
import { test } from 'node:test';
import { passed } from '../../src/std/memory.ts';

test('buffers that have passed are freed on the way', async () => {
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let index = 0; index < 4_000; index += 1) {
    passed(Buffer.allocUnsafeSlow(128 * 1024).length);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    // Collected buffers are swept in the background.
    if (index % 100 === 0) await new Promise(setImmediate);
  }
  assert.ok(most < 48 * 1024 * 1024, `${most} bytes of 512 MB were kept`);
});
