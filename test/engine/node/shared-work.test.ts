import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aborted } from '../../../src/std/abort.ts';
import { SharedWork } from '../../../src/engine/node/shared-work.ts';

const never = new AbortController().signal;

test('SharedWork.run() does work once for those who want it together, and again for those who come later', async () => {
  const shared = new SharedWork<string>();
  let times = 0;
  const work = async (): Promise<void> => {
    await new Promise(setImmediate);
    times += 1;
  };
  await Promise.all([shared.run('a', work, never), shared.run('a', work, never), shared.run('b', work, never)]);
  assert.equal(times, 2);
  await shared.run('a', work, never);
  assert.equal(times, 3);
});

test('SharedWork.run() gives its error to all, and does not keep it', async () => {
  const shared = new SharedWork<string>();
  const failing = async (): Promise<void> => Promise.reject(new Error('no'));
  const both = await Promise.allSettled([shared.run('a', failing, never), shared.run('a', failing, never)]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  await shared.run('a', async () => undefined, never);
});

test('SharedWork.run() aborts the work when the last one leaves, who waits for its end', async () => {
  const shared = new SharedWork<string>();
  const [first, last] = [new AbortController(), new AbortController()];
  let ended = false;
  const work = async (signal: AbortSignal): Promise<void> => {
    await aborted(signal);
    await new Promise(setImmediate);
    ended = true;
    signal.throwIfAborted();
  };
  const one = shared.run('a', work, first.signal);
  const two = shared.run('a', work, last.signal);
  first.abort(new Error('first'));
  await assert.rejects(one, /first/u);
  assert.equal(ended, false);
  last.abort(new Error('last'));
  await assert.rejects(two, /last/u);
  assert.equal(ended, true);
  await assert.rejects(shared.run('a', work, last.signal), /last/u);
});
