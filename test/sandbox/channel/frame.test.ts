import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { limits } from '../../../src/contract/limits.ts';
import {
  CHANGES_WINDOW_BYTES,
  CONNECTION_WINDOW_BYTES,
  frameCost,
  OUTPUT_WINDOW_BYTES,
} from '../../../src/sandbox/channel/credit.ts';
import { FieldWriter } from '../../../src/sandbox/channel/field.ts';
import { encodeFrame, type Frame, FrameDecoder, PAYLOAD_BYTES_MAX } from '../../../src/sandbox/channel/frame.ts';
import {
  decodeMessage,
  encodeCommand,
  encodeSetup,
  SNAPSHOT_STEP,
  TO_GUEST,
} from '../../../src/sandbox/channel/message.ts';
import { CLOCK_NS, COMMAND, COMMAND_AS, FROM_GUEST, GOLDEN, golden, SETUP, SETUP_OFFLINE } from './golden.ts';

const PROTOCOL = { code: 'GUEST_PROTOCOL' };

function decodeAll(...chunks: readonly Buffer[]): Frame[] {
  const decoder = new FrameDecoder();
  return chunks.flatMap((chunk) => [...decoder.push(chunk)]);
}

function only(bytes: Buffer): Frame {
  const [frame, ...rest] = decodeAll(bytes);
  assert.ok(frame !== undefined && rest.length === 0);
  return frame;
}

test('what the host says is, byte for byte, what the agent understands', () => {
  const empty = Buffer.alloc(0);
  const encoded: Readonly<Record<string, Buffer>> = {
    setup: encodeFrame(TO_GUEST.setup, 0, encodeSetup(SETUP, CLOCK_NS)),
    setup_offline: encodeFrame(TO_GUEST.setup, 0, encodeSetup(SETUP_OFFLINE, CLOCK_NS)),
    start: encodeFrame(TO_GUEST.start, 1, encodeCommand(COMMAND)),
    start_as: encodeFrame(TO_GUEST.start, 1, encodeCommand(COMMAND_AS)),
    stdin_close: encodeFrame(TO_GUEST.stdinClose, 1, empty),
    kill: encodeFrame(TO_GUEST.kill, 258, Buffer.of(15)),
    changes: encodeFrame(TO_GUEST.changes, 0, empty),
    connect: encodeFrame(TO_GUEST.connect, 3, new FieldWriter().u16(8_080).payload()),
    snapshot: encodeFrame(TO_GUEST.snapshot, 0, Buffer.of(SNAPSHOT_STEP.take)),
    snapshot_accept: encodeFrame(TO_GUEST.snapshot, 0, Buffer.of(SNAPSHOT_STEP.accept)),
    snapshot_cancel: encodeFrame(TO_GUEST.snapshot, 0, Buffer.of(SNAPSHOT_STEP.cancel)),
  };
  for (const [name, bytes] of Object.entries(encoded)) {
    assert.equal(bytes.toString('hex'), golden(name).toString('hex'), name);
  }
});

test('what the agent says is understood', () => {
  for (const [name, message] of Object.entries(FROM_GUEST)) {
    assert.deepEqual(decodeMessage(only(golden(name))), message, name);
  }
});

test('no golden frame is left unchecked', () => {
  const toGuest = new Set(Object.values(TO_GUEST) as number[]);
  for (const [name, bytes] of GOLDEN) {
    const { kind } = only(bytes);
    assert.ok(name in FROM_GUEST || toGuest.has(kind), name);
  }
});

test('both ends know the same bounds', () => {
  const source = ['wire', 'message']
    .map((name) => readFileSync(new URL(`../../../guest/agent/src/${name}.rs`, import.meta.url), 'utf8'))
    .join('\n');
  const constant = (name: string): number => {
    const [, factors = ''] = new RegExp(`const ${name}: \\w+ = ([0-9* ]+);`, 'u').exec(source) ?? [];
    return factors.split('*').reduce((product, factor) => product * Number(factor), 1);
  };
  assert.equal(constant('FRAME_BYTES_MAX'), limits.frameBytesMax);
  assert.equal(constant('OUTPUT_WINDOW'), OUTPUT_WINDOW_BYTES);
  assert.equal(constant('CHANGES_WINDOW'), CHANGES_WINDOW_BYTES);
  assert.equal(constant('CONNECTION_WINDOW'), CONNECTION_WINDOW_BYTES);
  assert.equal(constant('COST_MIN'), frameCost(Buffer.alloc(0)));
});

test('frames come out whole however the bytes are cut', () => {
  const bytes = Buffer.concat([...GOLDEN.values()]);
  const whole = decodeAll(bytes);
  assert.equal(whole.length, GOLDEN.size);
  for (const size of [1, 2, 3, 7, 8, 9, 64, 1_000]) {
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.subarray(index * size, (index + 1) * size),
    );
    assert.deepEqual(decodeAll(...chunks), whole, `cut every ${size} bytes`);
  }
});

test('the largest frame is taken, one byte more is refused before anything is kept for it', () => {
  const largest = encodeFrame(0x84, 1, Buffer.alloc(PAYLOAD_BYTES_MAX, 1));
  assert.equal(largest.length, limits.frameBytesMax);
  assert.equal(only(largest).payload.length, PAYLOAD_BYTES_MAX);
  for (const length of [PAYLOAD_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1]) {
    const header = encodeFrame(0x84, 1, Buffer.alloc(0));
    header.writeUInt32LE(length, 4);
    const before = process.memoryUsage().arrayBuffers;
    assert.throws(() => decodeAll(header), PROTOCOL, String(length));
    assert.ok(process.memoryUsage().arrayBuffers - before < 2 ** 20);
  }
});

test('another version of the protocol is refused', () => {
  const frame = Buffer.from(golden('hello'));
  frame[0] = 2;
  assert.throws(() => decodeAll(frame), PROTOCOL);
});

test('small payloads do not hold on to the chunk they came in', () => {
  const slab = Buffer.alloc(64 * 1024);
  golden('stdout').copy(slab);
  const [frame] = [...new FrameDecoder().push(slab.subarray(0, golden('stdout').length))];
  assert.notEqual(frame?.payload.buffer, slab.buffer);
});

test('every shortened or lengthened message of a guest is refused', () => {
  for (const name of Object.keys(FROM_GUEST)) {
    const { kind, process, payload } = only(golden(name));
    const refused = (payload: Buffer): void => {
      assert.throws(() => decodeMessage({ kind, process, payload }), PROTOCOL, name);
    };
    if (kind === 0x84 || kind === 0x85 || kind === 0x89) {
      refused(Buffer.alloc(0));
      continue;
    }
    for (let length = 0; length < payload.length; length += 1) refused(payload.subarray(0, length));
    refused(Buffer.concat([payload, Buffer.of(0)]));
  }
});

test('values no honest guest sends are refused', () => {
  const change = (name: string, at: number, bytes: readonly number[]): Frame => {
    const frame = only(golden(name));
    frame.payload.set(bytes, at);
    return frame;
  };
  const cases: Readonly<Record<string, Frame>> = {
    'an unknown kind': { kind: 0x42, process: 0, payload: Buffer.alloc(0) },
    'a kind that is not used any more': { kind: 0x8b, process: 0, payload: Buffer.alloc(4) },
    'a kind only the host uses': { kind: TO_GUEST.kill, process: 1, payload: Buffer.of(9) },
    'a text of 4 GB': change('hello', 0, [255, 255, 255, 255]),
    'a list of 4 billion': change('ready', 40, [255, 255, 255, 255]),
    'exit code 256': change('exited', 0, [0, 1, 0, 0, 255, 255, 255, 255]),
    'exit code and signal': change('exited', 0, [0, 0, 0, 0]),
    'neither of them': change('exited', 4, [255, 255, 255, 255]),
    'signal 65': change('exited', 4, [65]),
    'an unknown fault': change('fault', 0, [4]),
  };
  for (const [name, frame] of Object.entries(cases)) assert.throws(() => decodeMessage(frame), PROTOCOL, name);
});

test('texts of a guest cannot move the cursor', () => {
  const frame = only(golden('fault'));
  frame.payload.write('\x1b[2J\u202e', 5);
  const message = decodeMessage(frame);
  assert.ok(message.kind === 'fault');
  assert.doesNotMatch(message.reason, /[\p{Cc}\p{Cf}]/u);
});

test('a counter beyond what can be counted exactly is capped', () => {
  const frame = only(golden('exited'));
  frame.payload.fill(255, 9, 17);
  const message = decodeMessage(frame);
  assert.ok(message.kind === 'exited');
  assert.equal(message.outcome.durationMs, Number.MAX_SAFE_INTEGER / 1_000);
});

test('a command with a NUL character is the caller’s mistake', () => {
  for (const broken of [{ argv: ['a\0b'] }, { env: { 'A\0': '' } }, { env: { A: '\0' } }, { cwd: '/\0' }]) {
    assert.throws(() => encodeCommand({ ...COMMAND, ...broken }), { code: 'ARGUMENT_INVALID' });
  }
});
