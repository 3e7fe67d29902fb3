import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../../src/contract/errors.ts';
import { ChannelInstance } from '../../../src/sandbox/channel-instance.ts';
import type { Snapshot } from '../../../src/sandbox/driver.ts';
import { collect } from '../../../src/std/bytes.ts';
import { SNAPSHOT_STEP } from '../../../src/sandbox/channel/message.ts';
import { COMMAND } from './golden.ts';
import { fields, ScriptedGuest } from './scripted-guest.ts';

const signal = new AbortController().signal;
const PROTOCOL = { code: 'GUEST_PROTOCOL' };
const TAR = Buffer.from('tar');
const FACTS = {
  sandbox: 'none',
  accelerator: 'none',
  jail: { parts: [], missing: [] },
  kernel: 'test',
  bootId: '',
  stepsMs: {},
} as const;

/** Payload of SNAPSHOT_END. */
function ended(bytes: number, failure = ''): Buffer {
  return fields().u64(bytes).u64(1).u64(1_500).text(failure).payload();
}

/** Begins a snapshot that the guest was asked for. */
async function begun(guest: ScriptedGuest): Promise<{ readonly snapshot: Snapshot; readonly read: Promise<Buffer> }> {
  const snapshot = guest.channel.snapshot(signal);
  const read = collect(snapshot.changes, 1_000);
  read.catch(() => undefined);
  await stepped(guest, 'take');
  return { snapshot, read };
}

async function stepped(guest: ScriptedGuest, step: keyof typeof SNAPSHOT_STEP): Promise<void> {
  assert.deepEqual([...(await guest.expect('snapshot')).payload], [SNAPSHOT_STEP[step]]);
}

test('a snapshot whose end does not fit it ends the channel, and so does one that nobody asked for', async () => {
  const hostile: Readonly<Record<string, (guest: ScriptedGuest) => void>> = {
    'more bytes than arrived': (guest) => guest.say('snapshotEnd', 0, ended(TAR.length + 1)),
    'fewer bytes than arrived': (guest) => guest.say('snapshotEnd', 0, ended(0)),
    'the end of the last changes': (guest) =>
      guest.say('changesEnd', 0, fields().u64(TAR.length).u64(1).u8(0).payload()),
    'a second end': (guest) => {
      guest.say('snapshotEnd', 0, ended(TAR.length));
      guest.say('snapshotEnd', 0, ended(TAR.length));
    },
    'data after the end': (guest) => {
      guest.say('snapshotEnd', 0, ended(TAR.length));
      guest.say('changesData', 0, TAR);
    },
    'a reason without an end': (guest) => guest.say('snapshotEnd', 0, ended(0, 'x').subarray(0, -1)),
    'a reason as long as a frame': (guest) => guest.say('snapshotEnd', 0, ended(0, 'x'.repeat(200_000))),
    'more than it had credit for': (guest) => {
      for (let sent = 0; sent < 20; sent += 1) guest.say('changesData', 0, Buffer.alloc(200_000));
    },
  };
  for (const [what, say] of Object.entries(hostile)) {
    using guest = new ScriptedGuest();
    const { snapshot } = await begun(guest);
    guest.say('changesData', 0, TAR);
    say(guest);
    assert.ok(isFault(await guest.channel.lost, 'GUEST_PROTOCOL'), what);
    await assert.rejects(collect(guest.channel.snapshot(signal).changes, 1_000), PROTOCOL, what);
    await assert.rejects(guest.channel.start(COMMAND, signal), PROTOCOL, what);
    assert.equal(guest.unread, 0, `${what}: nothing was accepted`);
    void snapshot;
  }
  using guest = new ScriptedGuest();
  guest.say('snapshotEnd', 0, ended(0));
  assert.ok(isFault(await guest.channel.lost, 'GUEST_PROTOCOL'));
});

test('the last changes do not end as a snapshot does', async () => {
  using guest = new ScriptedGuest();
  const read = collect(guest.channel.changes(signal), 1_000);
  await guest.expect('changes');
  guest.say('snapshotEnd', 0, ended(0));
  await assert.rejects(read, PROTOCOL);
});

test('a snapshot that the guest could not take rejects with its reason, and the next one may succeed', async () => {
  using guest = new ScriptedGuest();
  const first = await begun(guest);
  guest.say('changesData', 0, TAR);
  guest.say('snapshotEnd', 0, ended(999, 'process 7 cannot be\u001B[2J stopped'));
  await assert.rejects(first.read, (error) => {
    assert.ok(isFault(error, 'SNAPSHOT_FAILED'));
    assert.match(error.message, /process 7 cannot be \[2J stopped$/u);
    return true;
  });
  const second = await begun(guest);
  guest.say('changesData', 0, TAR);
  guest.say('snapshotEnd', 0, ended(TAR.length));
  assert.equal((await second.read).toString(), 'tar');
  assert.equal(second.snapshot.frozenMs, 1.5);
  second.snapshot.accept();
  await stepped(guest, 'accept');
});

test('a guest that does not end a snapshot which is not wanted any more is given up after 10 s', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (const ends of [true, false]) {
    using guest = new ScriptedGuest();
    const { changes } = guest.channel.snapshot(signal);
    const read = changes[Symbol.asyncIterator]();
    const first = read.next();
    await stepped(guest, 'take');
    guest.say('changesData', 0, TAR);
    assert.equal((await first).done, false);
    await read.return?.();
    await stepped(guest, 'cancel');
    // Another one waits for that end.
    const next = collect(guest.channel.snapshot(signal).changes, 1_000);
    next.catch(() => undefined);
    t.mock.timers.tick(9_999);
    // What it goes on to send is read and dropped.
    for (let sent = 0; sent < 10; sent += 1) {
      for (let half = 0; half < 2; half += 1) guest.say('changesData', 0, Buffer.alloc(200_000));
      await guest.expect('credit');
    }
    if (ends) guest.say('snapshotEnd', 0, ended(0, 'the host asked to stop'));
    if (ends) await stepped(guest, 'take');
    t.mock.timers.tick(1);
    if (ends) {
      guest.say('snapshotEnd', 0, ended(0));
      assert.equal((await next).length, 0, 'the guest is as it was');
    } else {
      assert.ok(isFault(await guest.channel.lost, 'GUEST_LOST'));
      await assert.rejects(next, { code: 'GUEST_LOST' });
    }
  }
});

test('a snapshot that takes longer than 300 s fails as one, and lets the guest go on', async (t) => {
  const deadline = new AbortController();
  const timeout = t.mock.method(AbortSignal, 'timeout', () => deadline.signal);
  using guest = new ScriptedGuest();
  const { channel } = guest;
  await using resources = new AsyncDisposableStack();
  const parts = { channel, network: { use: () => assert.fail() }, resources, reasonOf: async (error: Error) => error };
  const read = collect(new ChannelInstance(FACTS, parts).snapshot(signal).changes, 1_000);
  await stepped(guest, 'take');
  assert.deepEqual(timeout.mock.calls[0]?.arguments, [300_000]);
  deadline.abort(new DOMException('late', 'TimeoutError'));
  await assert.rejects(read, { code: 'SNAPSHOT_FAILED' });
  await stepped(guest, 'cancel');
  guest.say('snapshotEnd', 0, ended(0, 'the host asked to stop'));
});
