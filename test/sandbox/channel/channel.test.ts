import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PassThrough } from 'node:stream';
import { isFault } from '../../../src/contract/errors.ts';
import { Channel } from '../../../src/sandbox/channel/index.ts';
import { collect } from '../../../src/std/bytes.ts';
import { PAYLOAD_BYTES_MAX } from '../../../src/sandbox/channel/frame.ts';
import type { ChannelProcess } from '../../../src/sandbox/channel/process.ts';
import { MIB, usedBytes } from '../../support/memory.ts';
import { COMMAND, SETUP } from './golden.ts';
import { exited, fields, ScriptedGuest } from './scripted-guest.ts';

const signal = new AbortController().signal;
const PROTOCOL = { code: 'GUEST_PROTOCOL' };
const LOST = { code: 'GUEST_LOST' };

/** A process, number 1, that the guest reports as running. */
async function running(guest: ScriptedGuest): Promise<ChannelProcess> {
  const start = guest.channel.start(COMMAND, signal);
  await guest.expect('start');
  guest.sayGolden('started');
  return start;
}

async function outputOf(process: ChannelProcess): Promise<string> {
  let text = '';
  for await (const { stream, bytes } of process.output) text += `${stream}:${Buffer.from(bytes).toString()};`;
  return text;
}

test('a guest is greeted, set up, runs a command and tells its changes', async () => {
  using guest = new ScriptedGuest();
  const { channel } = guest;
  guest.sayGolden('hello');
  assert.equal((await channel.hello(signal)).kernel, '6.1.0-56-cloud-amd64');
  const ready = channel.setup(SETUP, signal);
  await guest.expect('setup');
  guest.sayGolden('ready');
  assert.deepEqual((await ready).stepsMs, { identity: 1.5, layers: 20 });

  const process = await running(guest);
  assert.equal(process.pid, 2);
  guest.say('stdout', 1, Buffer.from('a'));
  guest.say('stderr', 1, Buffer.from('b'));
  guest.say('exited', 1, exited(3));
  guest.say('stdout', 1, Buffer.from('c'));
  guest.say('outputEnd', 1);
  assert.equal(await outputOf(process), 'stdout:a;stderr:b;stdout:c;');
  assert.equal((await process.outcome).exitCode, 3);

  const changes = collect(channel.changes(signal), 100);
  await guest.expect('changes');
  guest.sayGolden('changes_data');
  guest.sayGolden('changes_end');
  assert.equal((await changes).toString(), 'tar');
});

test('no change is no bytes', async () => {
  using guest = new ScriptedGuest();
  const changes = collect(guest.channel.changes(signal), 100);
  await guest.expect('changes');
  guest.say('changesEnd', 0, fields().u64(0).u64(0).u8(0).payload());
  assert.equal((await changes).length, 0);
});

test('changes that were read are not held, however many there are', async () => {
  using guest = new ScriptedGuest();
  const changes = guest.channel.changes(signal);
  let next = changes.next();
  await guest.expect('changes');
  const before = await usedBytes();
  for (let sent = 0; sent < 500; sent += 1) {
    guest.say('changesData', 0, Buffer.alloc(PAYLOAD_BYTES_MAX));
    assert.equal((await next).value?.length, PAYLOAD_BYTES_MAX);
    next = changes.next();
  }
  const grown = (await usedBytes()) - before;
  // A few may still be in transit; if they were held, it would be all of them.
  const sentBytes = 500 * PAYLOAD_BYTES_MAX;
  assert.ok(grown < sentBytes / 3, `${(grown / MIB).toFixed(1)} MiB of ${(sentBytes / MIB).toFixed()}`);
  // It ends with the guest.
  next.catch(() => undefined);
});

test('nothing is started once the changes were asked for', async () => {
  using guest = new ScriptedGuest();
  const changes = collect(guest.channel.changes(signal), 100);
  await guest.expect('changes');
  await assert.rejects(guest.channel.start(COMMAND, signal), LOST);
  guest.say('changesEnd', 0, fields().u64(0).u64(0).u8(0).payload());
  await changes;
  assert.equal(guest.unread, 0);
});

test('the outcome does not wait for the output to be read, nor the output for the outcome', async () => {
  using guest = new ScriptedGuest();
  const process = await running(guest);
  guest.say('exited', 1, exited(0));
  assert.equal((await process.outcome).exitCode, 0);
  guest.say('outputEnd', 1);
  assert.equal(await outputOf(process), '');
  await process.kill(15);
  await process.resize(1, 1);
  await process.closeStdin();
  await process.write(Buffer.from('late'));
  assert.equal(guest.unread, 0, 'nothing is sent to a process that ended');
});

test('a command too long for one frame arrives in parts', async () => {
  using guest = new ScriptedGuest();
  const argv = ['x', 'y'.repeat(PAYLOAD_BYTES_MAX), 'z'.repeat(PAYLOAD_BYTES_MAX)];
  const start = guest.channel.start({ ...COMMAND, argv }, signal);
  const parts = [await guest.expect('startPart'), await guest.expect('startPart'), await guest.expect('start')];
  assert.equal(Buffer.concat(parts.map(({ payload }) => payload)).indexOf('z'.repeat(PAYLOAD_BYTES_MAX)) > 0, true);
  guest.sayGolden('started');
  await start;
});

test('output that is not read stops at the window, and reading opens it again', async () => {
  using guest = new ScriptedGuest();
  const process = await running(guest);
  const chunk = Buffer.alloc(64 * 1024, 'x');
  for (let sent = 0; sent < 4; sent += 1) guest.say('stdout', 1, chunk);
  const first = await process.output.next();
  assert.equal(first.value?.bytes.byteLength, chunk.length);
  const credit = await guest.expect('credit');
  assert.equal(credit.process, 1);
  assert.equal(credit.payload.readUInt32LE(), chunk.length);
  guest.say('stdout', 1, chunk);
  guest.say('exited', 1, exited(0));
  guest.say('outputEnd', 1);
  let total = 0;
  for await (const { bytes } of process.output) total += bytes.byteLength;
  assert.equal(total, 4 * chunk.length);
});

test('a reader that leaves does not stop the guest', async () => {
  using guest = new ScriptedGuest();
  const process = await running(guest);
  await process.output.return();
  for (let sent = 0; sent < 4; sent += 1) {
    guest.say('stdout', 1, Buffer.alloc(64 * 1024));
    await guest.expect('credit');
  }
  guest.say('exited', 1, exited(0));
  assert.equal((await process.outcome).exitCode, 0);
});

test('stdin waits for the guest to take it, in order', async () => {
  using guest = new ScriptedGuest();
  const process = await running(guest);
  const taken: string[] = [];
  const first = process.write(Buffer.alloc(100_000, 'a')).then(() => taken.push('first'));
  const second = process.write(Buffer.from('b')).then(() => taken.push('second'));
  const closed = process.closeStdin().then(() => taken.push('closed'));
  const window = await guest.expect('stdin');
  assert.equal(window.payload.length, 64 * 1024, 'never more than the window');
  assert.equal(guest.unread, 0);
  guest.say('stdinCredit', 1, fields().u32(window.payload.length).payload());
  const rest = await guest.expect('stdin');
  assert.equal(rest.payload.length, 100_000 - window.payload.length);
  guest.say('stdinCredit', 1, fields().u32(rest.payload.length).payload());
  assert.equal((await guest.expect('stdin')).payload.toString(), 'b');
  assert.deepEqual(taken, ['first']);
  guest.say('stdinCredit', 1, fields().u32(1).payload());
  await guest.expect('stdinClose');
  await Promise.all([first, second, closed]);
  assert.deepEqual(taken, ['first', 'second', 'closed']);
});

test('a process that ends takes all stdin', async () => {
  using guest = new ScriptedGuest();
  const process = await running(guest);
  const write = process.write(Buffer.alloc(1_000_000));
  await guest.expect('stdin');
  guest.say('exited', 1, exited(0));
  await write;
});

test('signals and sizes are passed on', async () => {
  using guest = new ScriptedGuest();
  const process = await running(guest);
  await process.kill(15);
  assert.deepEqual([...(await guest.expect('kill')).payload], [15]);
  await process.resize(120, 40);
  assert.deepEqual([...(await guest.expect('resize')).payload], [120, 0, 40, 0]);
});

test('a start that is given up is killed, and what it writes is thrown away', async () => {
  using guest = new ScriptedGuest();
  const controller = new AbortController();
  const start = guest.channel.start(COMMAND, controller.signal);
  await guest.expect('start');
  controller.abort(new Error('enough'));
  await assert.rejects(start, { message: 'enough' });
  assert.deepEqual([...(await guest.expect('kill')).payload], [9]);
  guest.sayGolden('started');
  for (let sent = 0; sent < 8; sent += 1) {
    guest.say('stdout', 1, Buffer.alloc(64 * 1024));
    await guest.expect('credit');
  }
});

test('every wait ends with the signal’s reason', async () => {
  using guest = new ScriptedGuest();
  const aborted = AbortSignal.abort(new Error('over'));
  const { channel } = guest;
  const over = { message: 'over' };
  await assert.rejects(channel.hello(aborted), over);
  await assert.rejects(channel.setup(SETUP, aborted), over);
  await assert.rejects(channel.start(COMMAND, aborted), over);
  await assert.rejects(collect(channel.changes(aborted), 1), over);
});

test('a guest whose power is cut ends everything with GUEST_LOST', async () => {
  using guest = new ScriptedGuest();
  const process = await running(guest);
  guest.say('stdout', 1, Buffer.from('last words'));
  const write = process.write(Buffer.alloc(100_000));
  const outcome = assert.rejects(process.outcome, LOST);
  const writing = assert.rejects(write, LOST);
  await guest.expect('stdin');
  // What was said before this answer has arrived.
  await process.resize(80, 24);
  await guest.expect('resize');
  await guest.cut();
  await Promise.all([outcome, writing]);
  assert.equal(((await guest.channel.lost) as { code?: string }).code, 'GUEST_LOST');
  const first = await process.output.next();
  assert.equal(Buffer.from(first.value!.bytes).toString(), 'last words', 'what arrived is still read');
  await assert.rejects(process.output.next(), LOST);
  await assert.rejects(guest.channel.start(COMMAND, signal), LOST);
  await assert.rejects(collect(guest.channel.changes(signal), 1), LOST);
});

test('a disposed channel ends its processes but is not lost', async () => {
  const guest = new ScriptedGuest();
  const process = await running(guest);
  guest[Symbol.dispose]();
  guest[Symbol.dispose]();
  await assert.rejects(process.outcome, LOST);
  const first = await Promise.race([guest.channel.lost, new Promise((resolve) => setImmediate(resolve, 'silence'))]);
  assert.equal(first, 'silence');
});

test('a full disk is told as such, other faults as a lost guest', async () => {
  const told = async (code: number): Promise<unknown> => {
    using guest = new ScriptedGuest();
    const setup = guest.channel.setup(SETUP, signal);
    guest.sayGolden('ready');
    await setup;
    const changes = collect(guest.channel.changes(signal), 100);
    guest.say('fault', 0, fields().u8(code).text('because').payload());
    return changes.catch((error: unknown) => error);
  };
  const full = (await told(3)) as { code: string; detail: unknown };
  assert.deepEqual([full.code, full.detail], ['LAYER_BYTES_EXCEEDED', { limit: SETUP.diskBytes }]);
  assert.deepEqual(((await told(2)) as { detail: unknown }).detail, { reason: 'the guest gave up: because' });
});

test('changes that fill the disk are refused although they arrived', async () => {
  using guest = new ScriptedGuest();
  const changes = collect(guest.channel.changes(signal), 100);
  await guest.expect('changes');
  guest.sayGolden('changes_data');
  guest.say('changesEnd', 0, fields().u64(3).u64(1).u8(4).payload());
  await assert.rejects(changes, { code: 'LAYER_BYTES_EXCEEDED' });
});

test('what is out of turn ends the channel', async (context) => {
  const lies: Readonly<Record<string, (guest: ScriptedGuest) => void>> = {
    'hello twice': (guest) => {
      guest.sayGolden('hello');
      guest.sayGolden('hello');
    },
    'ready before it was set up': (guest) => guest.sayGolden('ready'),
    'started twice': (guest) => guest.sayGolden('started'),
    'exited twice': (guest) => {
      guest.say('exited', 1, exited(0));
      guest.say('exited', 1, exited(0));
    },
    'a fake exit of a process nobody started': (guest) => guest.say('exited', 2, exited(0)),
    'output of process 0': (guest) => guest.say('stdout', 0, Buffer.from('x')),
    'output after its end': (guest) => {
      guest.say('outputEnd', 1);
      guest.say('stdout', 1, Buffer.from('x'));
    },
    'the end of output twice': (guest) => {
      guest.say('outputEnd', 1);
      guest.say('outputEnd', 1);
    },
    'more after the end': (guest) => {
      guest.say('exited', 1, exited(0));
      guest.say('outputEnd', 1);
      guest.say('exited', 1, exited(1));
    },
    'credit for stdin that was never sent': (guest) => guest.say('stdinCredit', 1, fields().u32(1).payload()),
    'changes nobody asked for': (guest) => guest.sayGolden('changes_data'),
    'an end of changes nobody asked for': (guest) => guest.sayGolden('changes_end'),
    'an empty frame of output': (guest) => guest.say('stdout', 1),
    'more output than its credit': (guest) => {
      for (let sent = 0; sent < 5; sent += 1) guest.say('stdout', 1, Buffer.alloc(64 * 1024));
    },
    'a flood of tiny frames': (guest) => {
      for (let sent = 0; sent < 4_097; sent += 1) guest.say('stdout', 1, Buffer.of(1));
    },
  };
  for (const [name, lie] of Object.entries(lies)) {
    await context.test(name, async () => {
      using guest = new ScriptedGuest();
      const process = await running(guest);
      lie(guest);
      assert.equal(((await guest.channel.lost) as { code?: string }).code, 'GUEST_PROTOCOL');
      await assert.rejects(guest.channel.start(COMMAND, signal), PROTOCOL);
      await process.output.return();
    });
  }
});

test('an end of changes that does not match them is refused', async () => {
  using guest = new ScriptedGuest();
  const changes = collect(guest.channel.changes(signal), 100);
  await guest.expect('changes');
  guest.sayGolden('changes_end');
  await assert.rejects(changes, PROTOCOL);
});

test('more changes than credit are refused', async () => {
  using guest = new ScriptedGuest();
  const changes = guest.channel.changes(signal);
  const first = changes.next();
  await guest.expect('changes');
  for (let sent = 0; sent < 5; sent += 1) guest.say('changesData', 0, Buffer.alloc(PAYLOAD_BYTES_MAX));
  await first.catch(() => undefined);
  assert.equal(((await guest.channel.lost) as { code?: string }).code, 'GUEST_PROTOCOL');
});

test('a flood of small frames is taken in turns with everything else, and all of it', async () => {
  using guest = new ScriptedGuest();
  const process = await running(guest);
  let [taken, lastTurn, most] = [0, 0, 0];
  const timer = setInterval(() => {
    most = Math.max(most, taken - lastTurn);
    lastTurn = taken;
  }, 1);
  const reading = (async () => {
    for await (const { bytes } of process.output) taken += bytes.length;
  })();
  const PIECES = 12;
  for (let piece = 0; piece < PIECES; piece += 1) guest.flood('stdout', 1, 600);
  guest.say('outputEnd', 1);
  await reading;
  clearInterval(timer);
  assert.equal(taken, PIECES * 600);
  assert.ok(most <= 2 * 600, `${most} frames in one turn`);
});

test('a guest that ended before its channel was made is lost', async () => {
  const { promise: read, resolve } = Promise.withResolvers<void>();
  const [ended, destroyed] = [new PassThrough(), new PassThrough()];
  ended.end().on('end', resolve).resume();
  destroyed.destroy();
  await read;
  for (const stream of [ended, destroyed]) {
    using channel = new Channel(stream);
    await assert.rejects(channel.hello(signal), LOST);
    await assert.rejects(channel.setup(SETUP, signal), LOST);
    assert.ok(isFault(await channel.lost, 'GUEST_LOST'));
  }
});
