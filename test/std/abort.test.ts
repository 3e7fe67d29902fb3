import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { aborted, pause, settlesWithin, untilAborted } from '../../src/std/abort.ts';

test('a promise that is there or fails has settled, one that is late has not, and its error is not ours', async () => {
  assert.equal(await settlesWithin(Promise.resolve(), 10_000), true);
  const failing = Promise.reject(new Error('for its owner'));
  assert.equal(await settlesWithin(failing, 10_000), true);
  await assert.rejects(failing, /for its owner/u);
  const { promise, resolve } = Promise.withResolvers<void>();
  // The timer does not keep the process alive, so something else must until it is due.
  const alive = setInterval(() => undefined, 1_000);
  assert.equal(await settlesWithin(promise, 5), false);
  clearInterval(alive);
  resolve();
  assert.equal(await settlesWithin(promise, 10_000), true);
});

test('waiting ends with the signal and its reason, and leaves no listener behind', async () => {
  const stop = new AbortController();
  const late = Promise.withResolvers<string>();
  const waits = [untilAborted(late.promise, stop.signal), pause(60_000, stop.signal)];
  const end = aborted(stop.signal);
  stop.abort(new Error('enough'));
  for (const wait of waits) await assert.rejects(wait, /enough/u);
  await end;
  await aborted(stop.signal);
  await assert.rejects(untilAborted(Promise.resolve(1), stop.signal), /enough/u);

  const { signal } = new AbortController();
  assert.equal(await untilAborted(Promise.resolve('done'), signal), 'done');
  await pause(1, signal);
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});
