import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, isFault, runOutcome } from '../../src/client/sdk.ts';
import { startServer } from '../support/servers/http-server.ts';

test('waiting for a run transfers none of its output, and its outcome is text', async () => {
  await using server = await startServer({ kind: 'tcp' });
  const image = server.contree.addImage({}, 'base');
  const asked: unknown[] = [];
  const { events } = server.contree.operations;
  server.contree.operations.events = (operation, query, signal) => {
    asked.push(query);
    return events(operation, query, signal);
  };
  await using contree = await connect({ url: server.address });
  const { uuid } = await contree.runs.start({ command: 'echo', args: ['hi'], image: 'tag:base', disposable: true });
  const operation = await contree.operations.wait(uuid);
  assert.deepEqual(asked, [{ follow: true, spid: 0, since: -1 }]);
  assert.deepEqual(runOutcome(operation), { exit_code: 0, stdout: 'hi\n', stderr: '', image: null, error: null });
  assert.equal((await contree.images.get(image)).tag, 'base');
  const imported = await contree.images.import({ registry: { url: 'missing' } });
  const outcome = runOutcome(await contree.operations.wait(imported.uuid));
  assert.deepEqual([outcome.exit_code, outcome.image, outcome.error], [null, null, 'no image missing']);
});

test('an abort ends the waiting and not the run', async () => {
  await using server = await startServer({ kind: 'tcp' });
  server.contree.addImage({}, 'base');
  await using contree = await connect({ url: server.address });
  const { uuid } = await contree.runs.start({ command: 'sleep', image: 'tag:base' });
  const stop = new AbortController();
  const waiting = contree.operations.wait(uuid, {}, stop.signal);
  stop.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/u);
  assert.equal((await contree.operations.get(uuid)).status, 'EXECUTING');
  await contree.operations.cancel(uuid);
  assert.equal((await contree.operations.wait(uuid)).status, 'CANCELLED');
});

test('no engine is started unless that is asked for', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'contree-sdk-'));
  try {
    const refused = (error: unknown): boolean => isFault(error, 'ENGINE_UNAVAILABLE');
    await assert.rejects(connect({ dataDir }), refused);
  } finally {
    await rm(dataDir, { recursive: true });
  }
});
