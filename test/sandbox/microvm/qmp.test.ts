import assert from 'node:assert/strict';
import { duplexPair, type Duplex } from 'node:stream';
import { test } from 'node:test';
import { isFault } from '../../../src/contract/errors.ts';
import { Qmp } from '../../../src/sandbox/microvm/vm/qmp.ts';

/** A monitor with scripted answers. */
function monitor(): { readonly qmp: Qmp; readonly qemu: Duplex; readonly seen: string[] } {
  const [host, qemu] = duplexPair();
  const seen: string[] = [];
  qemu.setEncoding('utf8');
  qemu.on('data', (text: string) => seen.push(...text.split('\n').filter((line) => line !== '')));
  return { qmp: new Qmp(host), qemu, seen };
}

const GREETING = '{"QMP": {"version": {}}}\n{"return": {}}\n';

test('commands are sent before anything is answered, after the one that QEMU insists on', async () => {
  const { qmp, qemu, seen } = monitor();
  const answer = qmp.execute('query-status', { a: 1 });
  qemu.write(`${GREETING}{"timestamp": {}, "event": "RESUME"}\n{"return": {"status": "running"}}\n`);
  assert.deepEqual(await answer, { status: 'running' });
  assert.deepEqual(
    seen.map((line) => JSON.parse(line) as unknown),
    [{ execute: 'qmp_capabilities' }, { execute: 'query-status', arguments: { a: 1 } }],
  );
});

test('a refusal rejects the command it answers, and only that', async () => {
  const { qmp, qemu } = monitor();
  const [first, second] = [qmp.execute('one'), qmp.execute('two')];
  qemu.write(`${GREETING}{"error": {"class": "GenericError", "desc": "no such thing"}}\n{"return": 2}\n`);
  await assert.rejects(first, (error) => isFault(error, 'GUEST_LOST') && /no such thing/u.test(error.message));
  assert.equal(await second, 2);
});

test('answers may come in pieces', async () => {
  const { qmp, qemu } = monitor();
  const answer = qmp.execute('one');
  for (const piece of `${GREETING}{"return": "whole"}\n`.match(/.{1,3}/gsu) ?? []) qemu.write(piece);
  assert.equal(await answer, 'whole');
});

test('the reason of a shutdown is kept', async () => {
  const { qmp, qemu } = monitor();
  const answer = qmp.execute('one');
  qemu.write(`${GREETING}{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}\n{"return": 1}\n`);
  await answer;
  assert.equal(qmp.shutdownReason, 'guest-reset');
});

test('a write the host did not take is told, a read is not', async () => {
  const { qmp, qemu } = monitor();
  const event = (operation: string, nospace: boolean, reason: string): string =>
    `${JSON.stringify({ event: 'BLOCK_IO_ERROR', data: { operation, nospace, reason, action: 'stop' } })}\n`;
  qemu.write(GREETING + event('read', false, 'Input/output error') + event('write', true, 'No space left on device'));
  assert.deepEqual(await qmp.writeFailed, { noSpace: true, reason: 'No space left on device' });
});

test('commands reject when QEMU goes away, or says what is no answer', async () => {
  for (const last of [undefined, 'not JSON\n', `"${'x'.repeat(2 * 1024 ** 2)}`]) {
    const { qmp, qemu } = monitor();
    const answer = qmp.execute('one');
    const rejected = assert.rejects(answer, (error) => isFault(error, 'GUEST_LOST'));
    if (last === undefined) qemu.end();
    else qemu.write(last);
    await rejected;
    await qmp.closed;
    await assert.rejects(qmp.execute('two'), (error) => isFault(error, 'GUEST_LOST'));
  }
});
