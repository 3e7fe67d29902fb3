import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { openLimitsEngine, STATE_ENTRIES } from './bench.ts';

const engine = await openLimitsEngine({ large: false, state: true });
after(() => engine[Symbol.asyncDispose]());
const { small, state } = engine;

async function run(states: readonly string[]): Promise<string> {
  const body = { command: 'true', image: small, disposable: true, directory_states: states };
  const { status, json } = await engine.send('POST', '/v1/instances', { body });
  assert.equal(status, 201);
  const { uuid } = json as { uuid: string };
  assert.equal(await engine.drain('GET', `/v1/operations/${uuid}/events?follow=1`), 200);
  const ended = await engine.send('GET', `/v1/operations/${uuid}`);
  return (ended.json as { status: string }).status;
}

test(`a run with a state of ${STATE_ENTRIES} entries, named 16 times`, async () => {
  await engine.holds(async () => assert.equal(await run(Array.from({ length: 16 }, () => state)), 'SUCCESS'));
});

test('an offer of as many, which is there already', async () => {
  const lines = Array.from({ length: STATE_ENTRIES }, (_, at) =>
    JSON.stringify({ path: `/synced/${at % 500}/file-${at}`, mode: 0o755 }),
  );
  const headers = { 'Content-Type': 'application/x-ndjson' };
  await engine.holds(async () => {
    for (let round = 0; round < 2; round++) {
      const { status } = await engine.send('POST', '/v1/directory-states', { headers, body: lines.join('\n') });
      assert.equal(status, 200);
    }
  });
});
