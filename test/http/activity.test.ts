import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Activity } from '../../src/http/activity.ts';

const QUIET_MS = 60;

/** Counts calls; `later` as often as told, then `done`. */
function counter(laterTimes = 0): { calls: number; readonly callback: () => Promise<'done' | 'later'> } {
  const counted = {
    calls: 0,
    callback: async () => {
      counted.calls += 1;
      return counted.calls <= laterTimes ? ('later' as const) : ('done' as const);
    },
  };
  return counted;
}

test('whenQuiet calls back once for each quiet time, and not while there are requests', async () => {
  const activity = new Activity();
  const counted = counter();
  using _watch = activity.whenQuiet(QUIET_MS, counted.callback);
  await delay(5 * QUIET_MS);
  assert.equal(counted.calls, 1, 'what was never asked anything is quiet, once');
  activity.began();
  activity.began();
  activity.ended();
  await delay(3 * QUIET_MS);
  assert.equal(counted.calls, 1, 'one request is still being answered');
  activity.ended();
  await delay(5 * QUIET_MS);
  assert.equal(counted.calls, 2);
});

test('requests that follow each other soon are no quiet time', async () => {
  const activity = new Activity();
  const counted = counter();
  using _watch = activity.whenQuiet(400, counted.callback);
  for (let index = 0; index < 30; index += 1) {
    activity.began();
    activity.ended();
    await delay(20);
  }
  assert.equal(counted.calls, 0);
});

test('who answers later is asked again after the same time, until disposed', async () => {
  const activity = new Activity();
  const counted = counter(2);
  const watch = activity.whenQuiet(QUIET_MS, counted.callback);
  await delay(8 * QUIET_MS);
  assert.equal(counted.calls, 3);
  watch[Symbol.dispose]();
  activity.began();
  activity.ended();
  await delay(3 * QUIET_MS);
  assert.equal(counted.calls, 3);
});
