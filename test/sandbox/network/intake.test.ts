import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { FrameReader } from '../../../src/sandbox/network/frames.ts';
import { Intake } from '../../../src/sandbox/network/intake.ts';
import { wire } from '../../support/network/guest.ts';
import { startCpuWatch } from '../../support/time/stopwatch.ts';

/** Returns frames of 60 bytes, each with its number in front. */
function flood(count: number): Buffer {
  const bytes = Buffer.alloc(count * 64);
  for (let index = 0; index < count; index += 1) {
    bytes.writeUInt32BE(60, index * 64);
    bytes.writeUInt32BE(index, index * 64 + 4);
  }
  return bytes;
}

test('a flood of small frames is read a bounded number a turn and a second, whole and in order (F22)', async () => {
  const [qemu, guest] = wire();
  const got: number[] = [];
  let turn = 0;
  const turns: number[] = [];
  const reader = new FrameReader((framed) => {
    got.push(framed.readUInt32BE(4));
    turns[turn] = (turns[turn] ?? 0) + 1;
  }, assert.fail);
  using _intake = new Intake(qemu, reader);
  const count = 10_000;
  const startedMs = performance.now();
  guest.write(flood(count));
  while (got.length < count) {
    await setImmediate();
    turn += 1;
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  // 5,000 at once and then 20,000 a second.
  assert.ok(seconds > 0.2, `${seconds} s`);
  assert.ok(
    turns.every((frames) => frames <= 512),
    `${Math.max(...turns)} in a turn`,
  );
  assert.ok(got.every((number, index) => number === index));
});

test('while a flood goes on the process does other work, and what it leaves waits in the guest', async () => {
  const [qemu, guest] = wire();
  const seen = { frames: 0 };
  const reader = new FrameReader(() => (seen.frames += 1), assert.fail);
  using _intake = new Intake(qemu, reader);
  // Many more than are processed during the test.
  const took = guest.write(flood(200_000));
  let worstMs = 0;
  while (seen.frames < 6_000) {
    const cpuMs = startCpuWatch();
    await setImmediate();
    worstMs = Math.max(worstMs, cpuMs());
  }
  assert.equal(took, false);
  assert.ok(seen.frames < 60_000, `${seen.frames} frames`);
  assert.ok(worstMs < 250, `${worstMs} ms`);
});

test('one that is ended looks at nothing more', async () => {
  const [qemu, guest] = wire();
  const seen = { frames: 0 };
  const reader = new FrameReader(() => (seen.frames += 1), assert.fail);
  const intake = new Intake(qemu, reader);
  guest.write(flood(1_000));
  while (seen.frames === 0) await setImmediate();
  intake[Symbol.dispose]();
  const then = seen.frames;
  for (let turn = 0; turn < 20; turn += 1) await setImmediate();
  assert.equal(seen.frames, then);
  assert.equal(qemu.readableLength, 0, 'the guest is not held up');
});
