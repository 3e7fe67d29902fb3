import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import type { ConTree } from '../../src/contract/contree.ts';
import { isFault } from '../../src/contract/errors.ts';
import { finished, run, seen } from '../engine/bench.ts';
import { until } from '../support/time/until.ts';
import { NetworkedCluster, type NetworkedNode } from './support/networked.ts';

let cluster: NetworkedCluster;
let base: string;
let one: NetworkedNode;
let two: NetworkedNode;
before(async () => {
  cluster = await NetworkedCluster.open();
  one = await cluster.join('one');
  two = await cluster.join('two', { works: false });
  base = await one.addRoot();
});
after(() => cluster[Symbol.asyncDispose]());
// What a test that failed left cut would fail the others, too.
afterEach(async () => {
  for (const host of [cluster.postgresHost, cluster.objectsHost, two.host]) await cluster.network.heal(one.host, host);
});

/** Starts a run on the only node that works; it ends once its input does. */
async function started(contree: ConTree, path: string): Promise<string> {
  const stdin = { value: 'x', close: false };
  const { uuid } = await contree.runs.start({ command: `cat > ${path}`, shell: true, image: base, stdin });
  await seen(contree, uuid, ({ type }) => type === 'spawn');
  return uuid;
}

async function imagesOf(operation: string): Promise<number> {
  return (await cluster.database.rows('SELECT 1 FROM images WHERE operation = $1', operation)).length;
}

async function statusOf(operation: string): Promise<string | undefined> {
  const statement = 'SELECT status FROM operations WHERE uuid = $1';
  return (await cluster.database.rows<{ status: string }>(statement, operation))[0]?.status;
}

test('a node that is cut off from PostgreSQL ends its run, comes back and publishes nothing of it', async () => {
  const { network, postgresHost } = cluster;
  const uuid = await started(two.contree, '/cut');
  await network.cut(one.host, postgresHost);
  // The others take the run from it, as a run of a node that is lost.
  assert.equal((await finished(two.contree, uuid)).error_code, 'NODE_LOST');
  await network.heal(one.host, postgresHost);
  assert.equal((await run(two.contree, { command: 'echo x > /next', shell: true, image: base })).status, 'SUCCESS');
  const ended = await one.contree.operations.get(uuid);
  assert.deepEqual([ended.status, ended.error_code, await imagesOf(uuid)], ['FAILED', 'NODE_LOST', 0]);
});

test('a node that is stopped beyond its lease, and goes on with its run, publishes nothing of it', async () => {
  const uuid = await started(two.contree, '/stopped');
  await one.signal('SIGSTOP');
  assert.equal((await finished(two.contree, uuid)).error_code, 'NODE_LOST');
  await one.signal('SIGCONT');
  assert.equal((await run(two.contree, { command: 'echo x > /next', shell: true, image: base })).status, 'SUCCESS');
  assert.deepEqual([await statusOf(uuid), await imagesOf(uuid)], ['FAILED', 0]);
});

test('what a node published before it was cut off is read by the others', async () => {
  const made = await run(one.contree, { command: 'echo kept > /kept', shell: true, image: base });
  await cluster.network.cut(one.host, cluster.postgresHost);
  await cluster.network.cut(one.host, two.host);
  const { size } = await two.contree.files.stat(made.result!.image!, { path: '/kept' });
  await cluster.network.heal(one.host, cluster.postgresHost);
  await cluster.network.heal(one.host, two.host);
  assert.equal(size, 5);
});

test('a node that is cut off from the object storage publishes nothing, says why, and goes on afterwards', async () => {
  const { network, objectsHost } = cluster;
  const uuid = await started(two.contree, '/unstored');
  await network.cut(one.host, objectsHost);
  await two.contree.processes.write(uuid, 1, { value: '', close: true });
  const ended = await finished(two.contree, uuid);
  assert.deepEqual([ended.status, ended.error_code, await imagesOf(uuid)], ['FAILED', 'OBJECTS_UNAVAILABLE', 0]);
  await network.heal(one.host, objectsHost);
  const next = await run(two.contree, { command: 'echo x > /stored', shell: true, image: base });
  assert.deepEqual([next.status, await imagesOf(next.uuid)], ['SUCCESS', 1]);
});

test('what runs on a node that cannot be reached is said to be there, and can be ended through the catalogue', async () => {
  const { network } = cluster;
  const uuid = await started(two.contree, '/apart');
  await network.cut(one.host, two.host);
  const asked = two.contree.processes.write(uuid, 1, { value: 'y', close: true });
  await assert.rejects(asked, (error) => isFault(error, 'NODE_UNREACHABLE') && error.message.includes('one'));
  assert.equal((await two.contree.operations.list()).find((each) => each.uuid === uuid)?.status, 'EXECUTING');
  await two.contree.operations.cancel(uuid);
  await until(async () => (await statusOf(uuid)) === 'CANCELLED');
  await network.heal(one.host, two.host);
  assert.equal((await finished(two.contree, uuid)).status, 'CANCELLED');
});
