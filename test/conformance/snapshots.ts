import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import type { Instance } from '../../src/sandbox/driver.ts';
import { type Bench, booted, type Change, changesOf, command, membersOf, MIB, run, shell, soon } from './bench.ts';

/** Takes and accepts a snapshot. Returns its members as `changesOf` does. */
async function accepted(instance: Instance): Promise<Map<string, Change>> {
  const snapshot = instance.snapshot(soon());
  const members = await membersOf(snapshot.changes);
  assert.ok(snapshot.frozenMs !== undefined && snapshot.frozenMs >= 0);
  snapshot.accept();
  return members;
}

/** Declares the requirements for snapshots. */
export function describeSnapshots(open: () => Promise<Bench>): void {
  test('snapshot() has what changed since the last one that was accepted, and changes() has the rest', async () => {
    await using box = await booted(open);
    const { instance, bench } = box;
    const at = (members: Map<string, Change>, name: string): Change | undefined => members.get(`srv/${name}`);
    assert.deepEqual([...(await accepted(instance)).keys()], []);
    await run(instance, shell(`mkdir -p /srv && echo one > /srv/a && echo two > /srv/b && rm ${bench.imageFile}`));
    const first = await accepted(instance);
    assert.deepEqual([at(first, 'a')?.content, at(first, 'b')?.content], ['one\n', 'two\n']);
    assert.equal(first.get(bench.imageFile.slice(1))?.type, 'character');

    await run(instance, shell('echo more >> /srv/a && rm /srv/b && echo three > /srv/c'));
    // It is not accepted, so the next one has the same.
    await membersOf(instance.snapshot(soon()).changes);
    const second = await accepted(instance);
    assert.equal(at(second, 'a')?.content, 'one\nmore\n');
    assert.equal(at(second, 'b')?.type, 'character');
    assert.ok(at(second, 'c') !== undefined && !second.has(bench.imageFile.slice(1)));
    assert.deepEqual([...(await accepted(instance)).keys()], []);

    await run(instance, shell('echo last > /srv/d'));
    const last = await changesOf(instance);
    assert.deepEqual([at(last, 'd')?.content, at(last, 'a')], ['last\n', undefined]);
  });

  test('what runs goes on after a snapshot, and after one that was left early or aborted', async () => {
    await using box = await booted(open);
    const { instance, bench } = box;
    const cat = await instance.start(command(['cat'], { stdin: true }), soon());
    const output = cat.output[Symbol.asyncIterator]();
    await run(instance, shell(`mkdir -p /srv && ${bench.flood(2 * MIB).join(' ')} > /srv/large`));
    for await (const chunk of instance.snapshot(soon()).changes) {
      assert.ok(chunk.byteLength > 0);
      break;
    }
    const reason = new Error('changed my mind');
    await assert.rejects(membersOf(instance.snapshot(AbortSignal.abort(reason)).changes), reason);
    const aborted = new AbortController();
    await assert.rejects(async () => {
      for await (const _ of instance.snapshot(aborted.signal).changes) aborted.abort(reason);
    }, reason);
    const [one, other] = [instance.snapshot(soon()), instance.snapshot(soon())];
    const [members] = await Promise.all([membersOf(one.changes), membersOf(other.changes)]);
    assert.equal(members.get('srv/large')?.content.length, 2 * MIB);
    await cat.write(Buffer.from('still here'));
    assert.equal(Buffer.from((await output.next()).value?.bytes ?? []).toString(), 'still here');
    await cat.closeStdin();
    assert.equal((await cat.outcome).exitCode, 0);
  });

  test('a snapshot of a guest that is gone rejects with GUEST_LOST', async () => {
    await using box = await booted(open);
    await box.instance.start(command(box.bench.crash), soon());
    await box.instance.lost;
    await assert.rejects(membersOf(box.instance.snapshot(soon()).changes), (error) => isFault(error, 'GUEST_LOST'));
  });
}
