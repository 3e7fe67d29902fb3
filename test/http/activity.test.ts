import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Activity } from '../../src/http/activity.ts';

const QUIET_MS = 60;

/** Counts calls; answers `later` to the first `laterTimes` of them, then `done`. */
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

/** A timer of the clock below. The mock timers of `node:test` lack `refresh`. */
interface FakeTimer {
  dueMs: number;
  unref(): FakeTimer;
  refresh(): FakeTimer;
}

/** Replaces the clock. The result advances it by that many milliseconds, one by one, and runs what is due. */
function clock({ mock }: TestContext): (ms: number) => Promise<void> {
  const timers = new Map<FakeTimer, () => void>();
  let nowMs = 0;
  mock.method(globalThis, 'setTimeout', (callback: () => void, afterMs: number): FakeTimer => {
    const timer: FakeTimer = {
      dueMs: nowMs + afterMs,
      unref: () => timer,
      refresh: () => Object.assign(timer, { dueMs: nowMs + afterMs }),
    };
    timers.set(timer, callback);
    return timer;
  });
  mock.method(globalThis, 'clearTimeout', (timer: FakeTimer) => timers.delete(timer));
  return async (ms) => {
    for (const endMs = nowMs + ms; nowMs < endMs;) {
      nowMs += 1;
      for (const [timer, callback] of timers) if (timer.dueMs === nowMs) callback();
      await new Promise(setImmediate);
    }
  };
}

test('whenQuiet calls back once for each quiet time, and not while there are requests', async (context) => {
  const pass = clock(context);
  const activity = new Activity();
  const counted = counter();
  using _watch = activity.whenQuiet(QUIET_MS, counted.callback);
  await pass(QUIET_MS - 1);
  assert.equal(counted.calls, 0);
  await pass(5 * QUIET_MS);
  assert.equal(counted.calls, 1, 'what was never asked anything is quiet, once');
  activity.began();
  activity.began();
  activity.ended();
  await pass(3 * QUIET_MS);
  assert.equal(counted.calls, 1, 'one request is still being answered');
  activity.ended();
  await pass(QUIET_MS - 1);
  assert.equal(counted.calls, 1);
  await pass(5 * QUIET_MS);
  assert.equal(counted.calls, 2);
});

test('requests in quick succession are not a quiet time', async (context) => {
  const pass = clock(context);
  const activity = new Activity();
  const counted = counter();
  using _watch = activity.whenQuiet(QUIET_MS, counted.callback);
  for (let index = 0; index < 30; index += 1) {
    activity.began();
    activity.ended();
    await pass(QUIET_MS - 1);
  }
  assert.equal(counted.calls, 0);
  await pass(1);
  assert.equal(counted.calls, 1);
});

test('who answers later is asked again after the same time, until disposed', async (context) => {
  const pass = clock(context);
  const activity = new Activity();
  const counted = counter(2);
  const watch = activity.whenQuiet(QUIET_MS, counted.callback);
  await pass(2 * QUIET_MS);
  assert.equal(counted.calls, 2);
  await pass(8 * QUIET_MS);
  assert.equal(counted.calls, 3);
  watch[Symbol.dispose]();
  activity.began();
  activity.ended();
  await pass(3 * QUIET_MS);
  assert.equal(counted.calls, 3);
});
