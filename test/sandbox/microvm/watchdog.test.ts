import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { limits } from '../../../src/contract/limits.ts';
import { waitedForProcessor, Watchdog } from '../../../src/sandbox/microvm/template/watchdog.ts';

/** Replaces the clock; `pass` advances it in steps at which the watchdog checks. */
function clock({ mock }: TestContext): { readonly nowMs: () => number; readonly pass: (ms: number) => Promise<void> } {
  mock.timers.enable({ apis: ['setInterval'] });
  let now = 1_000;
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 50) {
      now += 50;
      mock.timers.tick(50);
      await new Promise(setImmediate);
    }
  };
  return { nowMs: () => now, pass };
}

test('a boot that had its time is given up, and not before', async (context) => {
  const { nowMs, pass } = clock(context);
  using watchdog = new Watchdog(3_000, async () => 0, nowMs);
  await pass(2_950);
  assert.equal(watchdog.signal.aborted, false);
  await pass(300);
  assert.equal(watchdog.signal.aborted, true);
});

test('time in which it waited for a processor is not counted, up to the most a boot may take', async (context) => {
  const { nowMs, pass } = clock(context);
  let waitedMs = 60_000;
  using watchdog = new Watchdog(300, async () => waitedMs, nowMs);
  await pass(5_000);
  assert.equal(watchdog.signal.aborted, false, 'it was only slow');
  waitedMs = 4_000;
  await pass(300);
  assert.equal(watchdog.signal.aborted, true, 'it had 1.3 seconds of a processor');
  using starved = new Watchdog(300, async () => Infinity, nowMs);
  await pass(limits.guestBootMsMax - 300);
  assert.equal(starved.signal.aborted, false);
  await pass(600);
  assert.equal(starved.signal.aborted, true);
});

test('nothing is given up after its end', async (context) => {
  const { nowMs, pass } = clock(context);
  const watchdog = new Watchdog(100, async () => 0, nowMs);
  watchdog[Symbol.dispose]();
  await pass(10_000);
  assert.equal(watchdog.signal.aborted, false);
});

test('the kernel tells how long a process or its child waited for a processor', async () => {
  const busy = 'while :; do :; done';
  // Three for one core; a child of a shell, as QEMU is a child of its jail.
  const script = `(${busy}) & (${busy}) & (${busy}) & wait`;
  const shell = spawn('taskset', ['-c', '0', 'sh', '-c', script], { stdio: 'ignore', detached: true });
  try {
    const patience = AbortSignal.timeout(30_000);
    // Only the kernel's counter, which grows with time, shows when it has counted enough.
    while ((await waitedForProcessor(shell.pid)) <= 500) await delay(50, undefined, { signal: patience });
  } finally {
    process.kill(-(shell.pid ?? 0), 'SIGKILL');
  }
  assert.equal(await waitedForProcessor(undefined), 0);
});
