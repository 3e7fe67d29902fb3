import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import type { Instance } from '../../src/sandbox/driver.ts';
import { collect } from '../../src/std/bytes.ts';
import { until } from '../support/time/until.ts';

const MIB = 1024 ** 2;
const PORT = 8_070;

const soon = (): AbortSignal => AbortSignal.timeout(60_000);

export interface Booted extends AsyncDisposable {
  readonly instance: Instance;
}

/** Starts a program that sends back what it receives, on every connection until its end. */
async function startEcho(instance: Instance): Promise<void> {
  const argv = ['nc', '-ll', '-p', String(PORT), '-e', 'cat'];
  const env = { PATH: '/usr/bin:/bin' };
  await instance.start({ argv, env, cwd: '/', uid: 0, gid: 0, stdin: false }, soon());
  await until(async () => {
    const stream = await instance.connect(PORT, soon()).catch((error: unknown) => error);
    if (isFault(stream, 'PORT_UNREACHABLE')) return false;
    (stream as Duplex).destroy();
    return true;
  });
}

/** Requirements for `Instance.connect`. The instance has no network. */
export function describePorts(booted: () => Promise<Booted>): void {
  test('connect() reaches what listens in a guest without a network, and each direction ends on its own', async () => {
    await using box = await booted();
    const unreachable = (error: unknown): boolean => isFault(error, 'PORT_UNREACHABLE');
    await assert.rejects(box.instance.connect(PORT, soon()), unreachable);
    await startEcho(box.instance);
    const sent = randomBytes(3 * MIB + 17);
    const stream = await box.instance.connect(PORT, soon());
    const received = collect(stream, 4 * MIB);
    stream.end(sent);
    assert.ok((await received).equals(sent), 'the answer came whole, and after its end the stream ended');
    const again = await box.instance.connect(PORT, soon());
    again.end('short');
    assert.equal((await collect(again, MIB)).toString(), 'short');
    const reason = new Error('changed my mind');
    await assert.rejects(box.instance.connect(PORT, AbortSignal.abort(reason)), reason);
  });

  test('an unread connection makes the guest wait, blocks nothing else, and ends with the instance', async () => {
    await using box = await booted();
    await startEcho(box.instance);
    const unread = await box.instance.connect(PORT, soon());
    let accepted = 0;
    const piece = Buffer.alloc(64 * 1024, 'x');
    // Everything between the two ends fills up: then no more is taken.
    while (accepted < 64 * MIB && (unread.write(piece) || (await drained(unread)))) accepted += piece.length;
    assert.ok(accepted < 64 * MIB, `${accepted} bytes were taken`);
    const other = await box.instance.connect(PORT, soon());
    other.end('through');
    assert.equal((await collect(other, MIB)).toString(), 'through');
    // Not `once`, which rejects when the stream reports the end of the guest first.
    const closed = new Promise((resolve) => unread.once('close', resolve));
    await box.instance[Symbol.asyncDispose]();
    await closed;
  });
}

/** Resolves with true when the stream takes more, with false when it does not for a while: only time shows that it is full. */
async function drained(stream: Duplex): Promise<boolean> {
  const signal = AbortSignal.timeout(500);
  return once(stream, 'drain', { signal }).then(
    () => true,
    () => false,
  );
}
