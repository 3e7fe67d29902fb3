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
  await cluster.network.healFloating(one.host);
  for (const host of [cluster.objectsHost, two.host]) await cluster.network.heal(one.host, host);
});

/** Part of its disk that a node leaves free (`engine/node/node.ts`). */
const SPARE_MIB = 64;

/** Starts a run on the only node that works; it ends once its input does. */
async function started(contree: ConTree, path: string): Promise<string> {
  const stdin = { value: 'x', close: false };
  const { uuid } = await contree.runs.start({ command: `cat > ${path}`, shell: true, image: base, stdin });
  await seen(contree, uuid, ({ type }) => type === 'spawn');
  return uuid;
}

async function imagesOf(operation: string): Promise<number> {
  await using database = cluster.connect();
  return (await database.rows('SELECT 1 FROM images WHERE operation = $1', operation)).length;
}

async function statusOf(operation: string): Promise<string | undefined> {
  await using database = cluster.connect();
  const statement = 'SELECT status FROM operations WHERE uuid = $1';
  return (await database.rows<{ status: string }>(statement, operation))[0]?.status;
}

test('a node that is cut off from PostgreSQL ends its run, comes back and publishes nothing of it', async () => {
  const { network } = cluster;
  const uuid = await started(two.contree, '/cut');
  await network.cutFloating(one.host);
  // The others take the run from it, as a run of a node that is lost.
  assert.equal((await finished(two.contree, uuid)).error_code, 'NODE_LOST');
  await network.healFloating(one.host);
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
  await cluster.network.cutFloating(one.host);
  await cluster.network.cut(one.host, two.host);
  const { size } = await two.contree.files.stat(made.result!.image!, { path: '/kept' });
  await cluster.network.healFloating(one.host);
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

test('PostgreSQL fails over to its standby during a run: nothing acknowledged is lost, and the run is published', async () => {
  const before = await run(two.contree, { command: 'echo x > /before', shell: true, image: base });
  const uuid = await started(two.contree, '/over');
  await cluster.postgres.failOver();
  await two.contree.processes.write(uuid, 1, { value: '', close: true });
  const ended = await finished(two.contree, uuid);
  // The run was stopped if the change took longer than its node's lease.
  const published = ended.status === 'SUCCESS' ? 1 : 0;
  assert.ok(published === 1 || ended.error_code === 'NODE_LOST', String(ended.error));
  assert.equal(await imagesOf(uuid), published);
  assert.equal((await two.contree.files.stat(before.result!.image!, { path: '/before' })).size, 2);
  assert.equal((await run(two.contree, { command: 'echo x > /after', shell: true, image: base })).status, 'SUCCESS');
});

test('a node whose disk is too small says so, the others go on, and it keeps what it has room for', async () => {
  const small = await cluster.join('small', { works: false, diskMib: SPARE_MIB + 16 });
  const script = (bytes: number): string => `flood ${bytes} > /large`;
  const made: string[] = [];
  for (const bytes of [20_000_000, 4_500_001, 4_500_002, 4_500_003]) {
    const { result } = await run(two.contree, { command: script(bytes), shell: true, image: base });
    made.push(result!.image!);
  }
  const [tooLarge = '', ...others] = made;
  const sizeOn = async ({ contree }: NetworkedNode, image: string): Promise<number> =>
    (await contree.files.stat(image, { path: '/large' })).size;
  await assert.rejects(sizeOn(small, tooLarge), (error) => isFault(error, 'DISK_FULL'));
  assert.equal(await sizeOn(two, tooLarge), 20_000_000);
  // More than it has room for at once: those used least go.
  const sizes: number[] = [];
  for (const image of [...others, ...others]) sizes.push(await sizeOn(small, image));
  assert.deepEqual(
    sizes,
    [1, 2, 3, 1, 2, 3].map((last) => 4_500_000 + last),
  );
  await small.signal('SIGTERM');
});
