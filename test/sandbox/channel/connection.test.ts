import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { isFault } from '../../../src/contract/errors.ts';
import { limits } from '../../../src/contract/limits.ts';
import { CONNECTION_IN_WINDOW_BYTES, CONNECTION_WINDOW_BYTES } from '../../../src/sandbox/channel/credit.ts';
import { Numbers } from '../../../src/sandbox/channel/numbers.ts';
import { collect } from '../../../src/std/bytes.ts';
import { COMMAND } from './golden.ts';
import { exited, fields, ScriptedGuest } from './scripted-guest.ts';

const signal = new AbortController().signal;
const ENDED = Buffer.of(0);
const REFUSED = Buffer.of(1);
const RESET = Buffer.of(2);
const UNREACHABLE = { code: 'PORT_UNREACHABLE' };

/** A connection to port 8080, of this number. */
async function connected(guest: ScriptedGuest, number = 1): Promise<Duplex> {
  const connecting = guest.channel.connect(8_080, signal);
  const frame = await guest.expect('connect');
  assert.deepEqual([frame.process, frame.payload.readUInt16LE()], [number, 8_080]);
  guest.say('connected', number);
  return connecting;
}

test('both directions of a connection carry bytes and end on their own', async () => {
  using guest = new ScriptedGuest();
  const stream = await connected(guest);
  stream.end('question');
  assert.equal((await guest.expect('stdin')).payload.toString(), 'question');
  await guest.expect('stdinClose');
  guest.say('stdinCredit', 1, fields().u32(8).payload());
  guest.say('stdout', 1, Buffer.from('ans'));
  guest.say('stdout', 1, Buffer.from('wer'));
  guest.say('outputEnd', 1);
  guest.say('disconnected', 1, ENDED);
  assert.equal((await collect(stream, 100)).toString(), 'answer');
  assert.equal(guest.unread, 0, 'a connection that ended in order is not reset');
});

test('a port at which nothing listens is PORT_UNREACHABLE with the next step', async () => {
  using guest = new ScriptedGuest();
  const connecting = guest.channel.connect(8_080, signal);
  await guest.expect('connect');
  guest.say('disconnected', 1, REFUSED);
  await assert.rejects(connecting, (error) => {
    assert.ok(isFault(error, 'PORT_UNREACHABLE'));
    assert.match(error.message, /port 8080/u);
    return true;
  });
});

test('a connection that the guest resets fails for its reader once the rest is read, and for its writer', async () => {
  using guest = new ScriptedGuest();
  const stream = await connected(guest);
  guest.say('stdout', 1, Buffer.from('the rest'));
  guest.say('disconnected', 1, RESET);
  let text = '';
  await assert.rejects(async () => {
    for await (const bytes of stream) text += String(bytes);
  }, UNREACHABLE);
  assert.equal(text, 'the rest');
  const other = await connected(guest, 2);
  guest.say('disconnected', 2, RESET);
  const [error] = (await once(other.resume(), 'error').catch((reason: unknown) => [reason])) as [unknown];
  assert.ok(isFault(error, 'PORT_UNREACHABLE'));
  assert.ok(other.destroyed);
});

test('a stream that is destroyed early, or an attempt that is given up, is reset in the guest', async () => {
  using guest = new ScriptedGuest();
  const stream = await connected(guest);
  stream.destroy();
  assert.equal((await guest.expect('kill')).process, 1);
  // Sent before it knew.
  guest.say('stdout', 1, Buffer.from('late'));
  guest.say('disconnected', 1, RESET);
  const reason = new Error('changed my mind');
  const aborting = new AbortController();
  const connecting = guest.channel.connect(8_080, aborting.signal);
  await guest.expect('connect');
  aborting.abort(reason);
  await assert.rejects(connecting, reason);
  assert.equal((await guest.expect('kill')).process, 2);
  guest.say('connected', 2);
  guest.say('disconnected', 2, RESET);
  assert.ok((await connected(guest, 3)).writable, 'the channel goes on');
});

test('each side sends no more than the other has given credit for', async () => {
  using guest = new ScriptedGuest();
  const stream = await connected(guest);
  stream.write(Buffer.alloc(CONNECTION_IN_WINDOW_BYTES + 1));
  let sent = 0;
  while (sent < CONNECTION_IN_WINDOW_BYTES) sent += (await guest.expect('stdin')).payload.length;
  assert.equal(sent, CONNECTION_IN_WINDOW_BYTES);
  guest.say('stdinCredit', 1, fields().u32(100).payload());
  assert.equal((await guest.expect('stdin')).payload.length, 1);
  const piece = Buffer.alloc(128 * 1024);
  for (let bytes = 0; bytes < CONNECTION_WINDOW_BYTES; bytes += piece.length) guest.say('stdout', 1, piece);
  await new Promise(setImmediate);
  assert.equal(guest.unread, 0, 'what is not read gives no credit');
  stream.resume();
  for (let credit = 0; credit < CONNECTION_WINDOW_BYTES;) {
    credit += (await guest.expect('credit')).payload.readUInt32LE();
  }
  stream.pause();
  for (let bytes = 0; bytes < 2 * CONNECTION_WINDOW_BYTES + piece.length; bytes += piece.length) {
    guest.say('stdout', 1, piece);
  }
  assert.ok(isFault(await guest.channel.lost, 'GUEST_PROTOCOL'));
});

test('the number of connections is bounded, and one that ended counts no more', async () => {
  using guest = new ScriptedGuest();
  for (let number = 1; number <= limits.portConnectionsMax; number += 1) await connected(guest, number);
  await assert.rejects(guest.channel.connect(8_080, signal), { code: 'CONNECTION_LIMIT' });
  guest.say('disconnected', 5, RESET);
  await new Promise(setImmediate);
  await connected(guest, limits.portConnectionsMax + 1);
});

test('what a guest says out of turn about a connection ends the channel', async (context) => {
  const lies: Readonly<Record<string, (guest: ScriptedGuest) => void>> = {
    'output of a connection that is not made yet': (guest) => guest.say('stdout', 2, Buffer.from('x')),
    'an orderly end of a connection that is not made yet': (guest) => guest.say('disconnected', 2, ENDED),
    'connected twice': (guest) => guest.say('connected', 1),
    'refused after it was made': (guest) => guest.say('disconnected', 1, REFUSED),
    'an orderly end without the end of the output': (guest) => guest.say('disconnected', 1, ENDED),
    'an unknown reason': (guest) => guest.say('disconnected', 1, Buffer.of(9)),
    'an end with more': (guest) => guest.say('disconnected', 1, Buffer.of(0, 0)),
    'stderr of a connection': (guest) => guest.say('stderr', 1, Buffer.from('x')),
    'an exit of a connection': (guest) => guest.say('exited', 1, exited(0)),
    'credit for what was not sent': (guest) => guest.say('stdinCredit', 1, fields().u32(1).payload()),
    'a connection that is a process': (guest) => guest.say('connected', 3),
    'the end of a connection twice': (guest) => {
      guest.say('disconnected', 1, RESET);
      guest.say('disconnected', 1, RESET);
    },
    'output after its end': (guest) => {
      guest.say('outputEnd', 1);
      guest.say('stdout', 1, Buffer.from('x'));
    },
  };
  for (const [name, lie] of Object.entries(lies)) {
    await context.test(name, async () => {
      using guest = new ScriptedGuest();
      const stream = (await connected(guest)).resume();
      const second = guest.channel.connect(8_080, signal);
      const third = guest.channel.start(COMMAND, signal);
      const closed = new Promise((resolve) => stream.once('close', resolve));
      lie(guest);
      assert.ok(isFault(await guest.channel.lost, 'GUEST_PROTOCOL'));
      await Promise.all([second, third].map((ended) => assert.rejects(ended, { code: 'GUEST_PROTOCOL' })));
      await closed;
    });
  }
});

test('a number is used again once its owner has finished, and never before', () => {
  const numbers = new Numbers<{ finished: boolean }>();
  const given: number[] = [];
  const take = (): { finished: boolean } =>
    numbers.add((number) => {
      given.push(number);
      return { finished: false };
    });
  for (let count = 0; count < 65_535; count += 1) take();
  assert.deepEqual([given[0], given.at(-1), new Set(given).size], [1, 65_535, 65_535]);
  assert.throws(take, { code: 'OPERATION_LIMIT' });
  numbers.settle(300);
  assert.throws(take, { code: 'OPERATION_LIMIT' }, 'it has not finished');
  for (const number of [300, 7]) {
    numbers.get(number)!.finished = true;
    numbers.settle(number);
  }
  take();
  take();
  assert.deepEqual(given.slice(-2), [7, 300]);
});
