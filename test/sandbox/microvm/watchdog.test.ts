import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { waitedForProcessor, Watchdog } from '../../../src/sandbox/microvm/template/watchdog.ts';

/** Rejects unless the signal fires soon. */
function fires(signal: AbortSignal): Promise<unknown> {
  return signal.aborted ? Promise.resolve() : once(signal, 'abort', { signal: AbortSignal.timeout(30_000) });
}

test('a boot that had its time is given up', async () => {
  using watchdog = new Watchdog(300, async () => 0);
  assert.equal(watchdog.signal.aborted, false);
  await fires(watchdog.signal);
});

test('time in which it waited for a processor is not counted', async () => {
  let waitedMs = 60_000;
  using watchdog = new Watchdog(300, async () => waitedMs);
  await delay(1_500);
  assert.equal(watchdog.signal.aborted, false, 'it was only slow');
  waitedMs = 0;
  await fires(watchdog.signal);
});

test('nothing is given up after its end', async () => {
  const watchdog = new Watchdog(100, async () => 0);
  watchdog[Symbol.dispose]();
  await delay(800);
  assert.equal(watchdog.signal.aborted, false);
});

test('the kernel tells how long a process or its child waited for a processor', async () => {
  const busy = 'while :; do :; done';
  // Three for one processor; a child of a shell, as QEMU is one of its jail.
  const script = `(${busy}) & (${busy}) & (${busy}) & wait`;
  const shell = spawn('taskset', ['-c', '0', 'sh', '-c', script], { stdio: 'ignore', detached: true });
  try {
    await delay(2_000);
    const waited = await waitedForProcessor(shell.pid);
    assert.ok(waited > 500, `${waited} ms`);
  } finally {
    process.kill(-(shell.pid ?? 0), 'SIGKILL');
  }
  assert.equal(await waitedForProcessor(undefined), 0);
});
