import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { limits } from '../../../src/contract/limits.ts';
import { type BootProgress, waitedForProcessor, Watchdog } from '../../../src/sandbox/microvm/template/watchdog.ts';

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

/** A boot whose guest touches memory for as long as it is told to, and waits for a processor as it is told to. */
function boot(): { touching: boolean; waitedMs: number; readonly progress: BootProgress } {
  let touched = 0;
  const state = {
    touching: true,
    waitedMs: 0,
    progress: {
      touched: async () => {
        if (state.touching) touched += 4_096;
        return touched;
      },
      waitedMs: async () => state.waitedMs,
    },
  };
  return state;
}

test('a boot is given up when it got nowhere for its time, and not before', async (context) => {
  const { nowMs, pass } = clock(context);
  const guest = boot();
  guest.touching = false;
  using watchdog = new Watchdog(3_000, guest.progress, nowMs);
  await pass(2_900);
  assert.equal(watchdog.signal.aborted, false);
  await pass(1_200);
  assert.equal(watchdog.signal.aborted, true);
});

test('a slow boot is not given up as long as its guest goes on, up to the most a boot may take', async (context) => {
  const { nowMs, pass } = clock(context);
  const guest = boot();
  using watchdog = new Watchdog(3_000, guest.progress, nowMs);
  await pass(60_000);
  assert.equal(watchdog.signal.aborted, false, 'it is slow, and works');
  guest.touching = false;
  await pass(4_500);
  assert.equal(watchdog.signal.aborted, true, 'it hangs');
  using endless = new Watchdog(3_000, boot().progress, nowMs);
  await pass(limits.guestBootMsMax - 1_000);
  assert.equal(endless.signal.aborted, false);
  await pass(1_500);
  assert.equal(endless.signal.aborted, true);
});

test('time in which it waited for a processor is not counted', async (context) => {
  const { nowMs, pass } = clock(context);
  const guest = boot();
  using watchdog = new Watchdog(1_000, guest.progress, nowMs);
  await pass(1_000);
  guest.touching = false;
  guest.waitedMs = 60_000;
  await pass(20_000);
  assert.equal(watchdog.signal.aborted, false, 'nobody let it run');
  guest.touching = true;
  await pass(1_000);
  guest.touching = false;
  await pass(2_500);
  assert.equal(watchdog.signal.aborted, true, 'what it waited before counts no more');
});

test('nothing is given up after its end', async (context) => {
  const { nowMs, pass } = clock(context);
  const watchdog = new Watchdog(100, boot().progress, nowMs);
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
