import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OutputBudget } from '../../../src/engine/instance/output-budget.ts';
import { openStore } from '../../store/bench.ts';

test('of too much output the oldest is dropped, the log says so, and its facts and its newest output stay', async () => {
  await using bench = await openStore();
  const { events, operations } = bench.store;
  const uuid = operations.create({ kind: 'instance', request: '{}' });
  const budget = new OutputBudget(events, uuid, 8_000);
  for (let spid = 2; spid < 102; spid += 1) {
    events.append(uuid, spid, 'stdin', { value: '', encoding: 'ascii' });
    events.appendOutput(uuid, { spid, stream: 'stdout', offset: 0, bytes: Buffer.alloc(1_000, 'x') });
    events.flush();
    budget.wrote(1_000);
    await budget.settled();
  }
  const log = await Array.fromAsync(events.read(uuid, { since: -1, follow: false }));
  assert.equal(log.filter(({ type }) => type === 'stdin').length, 100);
  const kept = log.filter(({ type }) => type === 'stdout').map(({ spid }) => spid);
  assert.ok(kept.length <= 8 && kept.length >= 7, String(kept.length));
  assert.deepEqual(
    kept,
    Array.from({ length: kept.length }, (_, index) => 102 - kept.length + index),
  );
  const said = log.flatMap((event) => (event.type === 'truncated' ? [[event.spid, event.data.bytes_dropped]] : []));
  assert.deepEqual(
    said,
    Array.from({ length: 100 - kept.length }, (_, index) => [index + 2, 1_000]),
  );
});
