import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settlesWithin } from '../../src/std/settles-within.ts';

test('a promise that is there or fails has settled, one that is late has not, and its error is not ours', async () => {
  assert.equal(await settlesWithin(Promise.resolve(), 10_000), true);
  const failing = Promise.reject(new Error('for its owner'));
  assert.equal(await settlesWithin(failing, 10_000), true);
  await assert.rejects(failing, /for its owner/u);
  const { promise, resolve } = Promise.withResolvers<void>();
  // The timer keeps no process alive: something else must, until it is due.
  const alive = setInterval(() => undefined, 1_000);
  assert.equal(await settlesWithin(promise, 5), false);
  clearInterval(alive);
  resolve();
  assert.equal(await settlesWithin(promise, 10_000), true);
});
