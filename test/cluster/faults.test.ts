import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ConTree } from '../../src/contract/contree.ts';
import { finished, run, seen } from '../engine/bench.ts';
import { until } from '../support/time/until.ts';
import { TestCluster } from './support/bench.ts';
import type { DeathStep, NodeProcessArguments } from './support/node-process.ts';
import { Postgres } from './support/postgres.ts';

let postgres: Postgres;
before(async () => {
  postgres = await Postgres.open({ durable: true });
});
after(() => postgres[Symbol.asyncDispose]());

/** Starts a node in a process of its own and waits until it works. */
async function spawned(
  cluster: TestCluster,
  name: string,
  how: Pick<NodeProcessArguments, 'dies' | 'clockErrorMs'>,
): Promise<ChildProcess> {
  const { databaseUrl, dataDir } = cluster.place(name);
  const given: NodeProcessArguments = { databaseUrl, dataDir, name, objectsFolder: cluster.objectsFolder, ...how };
  const program = join(import.meta.dirname, 'support/node-process.ts');
  const child = spawn(process.execPath, [program, JSON.stringify(given)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

const OWNER = { project: 'default', isOwner: true } as const;

async function images(contree: ConTree): Promise<number> {
  return (await contree.images.list({ limit: 100 })).length;
}

/** Fate of a run whose node is killed at a moment: done by another node, lost, or published. */
const STEPS: Readonly<Record<DeathStep, 'again' | 'lost' | 'published'>> = {
  claimed: 'again',
  begun: 'lost',
  publishing: 'lost',
  storing: 'lost',
  stored: 'lost',
  published: 'published',
};

for (const [step, becomes] of Object.entries(STEPS) as [DeathStep, (typeof STEPS)[DeathStep]][]) {
  test(`a node that is killed when a run is ${step}: the run is ${becomes}`, async () => {
    await using cluster = await TestCluster.open(await postgres.database());
    const base = await cluster.addRoot();
    const asked = await cluster.join('asked', { works: false });
    const contree = asked.node.forTenant(OWNER);
    const victim = await spawned(cluster, 'victim', { dies: step });
    const died = once(victim, 'exit');
    const { uuid } = await contree.runs.start({ command: 'echo x > /new', shell: true, image: base });
    assert.deepEqual(await died, [null, 'SIGKILL']);
    await cluster.expire('victim');
    await cluster.join('other');
    const ended = await finished(contree, uuid);
    if (becomes === 'lost') {
      assert.deepEqual([ended.status, ended.error_code, await images(contree)], ['FAILED', 'NODE_LOST', 1]);
      const next = await run(contree, { command: 'echo x > /new', shell: true, image: base });
      assert.equal(next.status, 'SUCCESS', 'the cluster goes on');
      return;
    }
    assert.deepEqual([ended.status, await images(contree)], ['SUCCESS', 2], 'one image, once');
    assert.equal((await contree.files.stat(ended.result!.image!, { path: '/new' })).size, 2);
    assert.equal((await contree.images.lineage(ended.result!.image!)).image.operation_uuid, uuid);
  });
}

test('a node that lost its lease and goes on publishes nothing', async () => {
  await using cluster = await TestCluster.open(await postgres.database());
  const base = await cluster.addRoot();
  const worker = await cluster.join('worker');
  const asked = await cluster.join('asked', { works: false });
  const contree = asked.node.forTenant(OWNER);
  const request = { command: 'cat > /new', shell: true, image: base, stdin: { value: 'x', close: false } };
  const { uuid } = await contree.runs.start(request);
  await seen(contree, uuid, ({ type }) => type === 'spawn');
  // For the cluster its lease has ended; it does not know yet, and its run ends well.
  await cluster.database.run(
    `UPDATE operations SET status = 'FAILED', error = 'lost', error_code = 'NODE_LOST', fence = NULL,
       finished_at = now() WHERE uuid = $1`,
    uuid,
  );
  const own = worker.node.engine;
  await own.processes.write(uuid, 1, { value: '', close: true }).catch(() => undefined);
  await until(async () => (await own.operations.get(uuid)).status === 'FAILED');
  assert.equal((await own.operations.get(uuid)).error_code, 'LEASE_LOST');
  const shown = await contree.operations.get(uuid);
  assert.deepEqual([shown.status, shown.error_code, await images(contree)], ['FAILED', 'NODE_LOST', 1]);
});

test('a restart of PostgreSQL during a run loses neither the run nor what it makes', async () => {
  await using own = await Postgres.open({ durable: true });
  await using cluster = await TestCluster.open(await own.database());
  const base = await cluster.addRoot();
  const worker = await cluster.join('worker', { leaseMs: 300_000 });
  const contree = worker.node.forTenant(OWNER);
  const request = { command: 'cat > /new', shell: true, image: base, stdin: { value: 'x', close: false } };
  const { uuid } = await contree.runs.start(request);
  await seen(contree, uuid, ({ type }) => type === 'spawn');
  await own.stop('immediate');
  // It ends while the database is away, and waits for it.
  await worker.node.engine.processes.write(uuid, 1, { value: '', close: true });
  await own.start();
  const ended = await finished(contree, uuid);
  assert.deepEqual([ended.status, await images(contree)], ['SUCCESS', 2]);
});

test('PostgreSQL is away for longer than a lease: what the only node ran ends with the reason', async () => {
  await using own = await Postgres.open({ durable: true });
  await using cluster = await TestCluster.open(await own.database());
  const base = await cluster.addRoot();
  const worker = await cluster.join('worker', { leaseMs: 1_000 });
  const contree = worker.node.forTenant(OWNER);
  const request = { command: 'cat > /new', shell: true, image: base, stdin: { value: 'x', close: false } };
  const { uuid } = await contree.runs.start(request);
  await seen(contree, uuid, ({ type }) => type === 'spawn');
  await own.stop('immediate');
  await until(async () => (await worker.node.engine.operations.get(uuid)).status === 'FAILED');
  await own.start();
  const ended = await finished(contree, uuid);
  assert.deepEqual([ended.error_code, await images(contree)], ['NODE_LOST', 1]);
  const next = await run(contree, { command: 'echo x > /new', shell: true, image: base });
  assert.equal(next.status, 'SUCCESS', 'the cluster goes on');
});

test('a node whose clock is an hour off works as the others do', async () => {
  await using cluster = await TestCluster.open(await postgres.database());
  const base = await cluster.addRoot();
  const asked = await cluster.join('asked', { works: false });
  const contree = asked.node.forTenant(OWNER);
  for (const clockErrorMs of [3_600_000, -3_600_000]) {
    const child = await spawned(cluster, `off by ${clockErrorMs}`, { clockErrorMs });
    const ended = await run(contree, { command: 'echo x > /new', shell: true, image: base });
    assert.equal(ended.status, 'SUCCESS');
    const [row] = await cluster.database.rows<{ near: boolean }>(
      `SELECT abs(extract(epoch FROM finished_at - now())) < 1800 AND finished_at >= started_at AS near
         FROM operations WHERE uuid = $1`,
      ended.uuid,
    );
    assert.equal(row?.near, true, "times are the database's");
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
  }
});
