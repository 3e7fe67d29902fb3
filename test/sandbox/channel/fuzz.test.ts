import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../../src/contract/errors.ts';
import { encodeFrame } from '../../../src/sandbox/channel/frame.ts';
import { COMMAND, GOLDEN } from './golden.ts';
import { ScriptedGuest } from './scripted-guest.ts';

const signal = new AbortController().signal;

/** mulberry32, so that a failing seed can be run again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function pick<Item>(items: readonly Item[], next: () => number): Item {
  return items[Math.floor(next() * items.length)]!;
}

/** Returns a valid frame, a damaged one, or random bytes. */
function anyBytes(next: () => number): Buffer {
  const kind = next();
  const frame = Buffer.from(pick([...GOLDEN.values()], next));
  if (kind < 0.4) return frame;
  if (kind < 0.7) {
    for (let flips = 1 + next() * 3; flips > 0; flips -= 1) frame[Math.floor(next() * frame.length)] = next() * 256;
    return frame;
  }
  if (kind < 0.8) return frame.subarray(0, next() * frame.length);
  const payload = Buffer.from(Array.from({ length: next() * 200 }, () => next() * 256));
  return kind < 0.95 ? encodeFrame(0x80 + next() * 16, next() * 3, payload) : payload;
}

async function talkNonsense(seed: number): Promise<void> {
  const next = random(seed);
  using guest = new ScriptedGuest();
  const { channel } = guest;
  const waits = [channel.hello(signal), channel.start(COMMAND, signal)];
  const settled = Promise.allSettled(waits);
  for (let sent = 0; sent < 40; sent += 1) guest.write(anyBytes(next));
  await guest.cut();
  const error = await channel.lost;
  assert.ok(isFault(error, 'GUEST_PROTOCOL', 'GUEST_LOST', 'LAYER_BYTES_EXCEEDED'), `seed ${seed}: ${String(error)}`);
  for (const result of await settled) {
    assert.ok(result.status === 'fulfilled' || isFault(result.reason), `seed ${seed}`);
  }
}

test('whatever a guest says, the channel ends with a fault and nothing is left waiting', async () => {
  for (let seed = 1; seed <= 1_500; seed += 1) await talkNonsense(seed);
});

test('a guest that talks for ever is held in bounded memory', async () => {
  using guest = new ScriptedGuest();
  const start = guest.channel.start(COMMAND, signal);
  await guest.expect('start');
  guest.sayGolden('started');
  const process_ = await start;
  const chunk = encodeFrame(0x84, 1, Buffer.alloc(64 * 1024));
  const before = process.memoryUsage().arrayBuffers;
  const reading = (async () => {
    let total = 0;
    for await (const { bytes } of process_.output) {
      total += bytes.byteLength;
      if (total >= 512 * 2 ** 20) return total;
    }
    return total;
  })();
  for (let sent = 0; sent < 4; sent += 1) guest.write(chunk);
  for (let credited = 0; credited < 512 * 2 ** 20 - 4 * 64 * 1024; credited += 64 * 1024) {
    await guest.expect('credit');
    guest.write(chunk);
  }
  assert.equal(await reading, 512 * 2 ** 20);
  assert.ok(process.memoryUsage().arrayBuffers - before < 64 * 2 ** 20, 'half a gigabyte passed through');
});
