import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fault, isFault } from '../../src/contract/errors.ts';
import { collect } from '../../src/std/bytes.ts';
import { faults } from '../conformance/faults.ts';
import { opened } from '../conformance/instances.ts';
import { until } from '../support/time/until.ts';
import { TestCluster } from './support/bench.ts';
import { Postgres } from './support/postgres.ts';

const PORT = 8_070;
const ECHO = { command: 'nc', args: ['-ll', '-p', String(PORT), '-e', 'cat'] };
const { signal } = new AbortController();

let postgres: Postgres;
before(async () => {
  postgres = await Postgres.open();
});
after(() => postgres[Symbol.asyncDispose]());

test('a port is reached through any node, by those who may use the instance', async () => {
  await using cluster = await TestCluster.open(await postgres.database());
  const { node: asked } = await cluster.join('asked', { works: false });
  await cluster.join('works');
  const tenant = { project: 'default', isOwner: true };
  const contree = asked.forTenant(tenant);
  const instance = await opened(contree, { image: await cluster.addRoot() });
  const target = { instance, port: PORT };
  await assert.rejects(asked.connect(tenant, target, signal), faults('PORT_UNREACHABLE'));
  await contree.processes.start(instance, ECHO);
  const echoed = async (text: string): Promise<string> => {
    const stream = await asked.connect(tenant, target, signal);
    stream.end(text);
    return (await collect(stream, 1_000_000)).toString();
  };
  await until(async () => (await echoed('ready?').catch(() => '')) === 'ready?');
  const long = 'there and back, '.repeat(20_000);
  assert.equal(await echoed(long), long);

  const reader = { project: 'default', permissions: new Set(['list'] as const) };
  await assert.rejects(asked.connect(reader, target, signal), faults('PERMISSION_MISSING'));
  await assert.rejects(asked.connect({ project: 'other' }, target, signal), faults('OPERATION_NOT_FOUND'));
  const left = AbortSignal.abort(fault('ENGINE_UNAVAILABLE', { reason: 'the client has left' }));
  await assert.rejects(asked.connect(tenant, target, left));

  await contree.instances.close(instance);
  await assert.rejects(asked.connect(tenant, target, signal), faults('INSTANCE_NOT_RUNNING'));
});

test('the terms of an instance are those of the node that was asked', async () => {
  await using cluster = await TestCluster.open(await postgres.database());
  const instancePolicy = { idleSeconds: 1_000, lifeSeconds: 2_000 };
  const { node } = await cluster.join('asked', { works: false, instancePolicy });
  const contree = node.forTenant({ project: 'default', isOwner: true });
  const { uuid } = await contree.instances.open({ image: await cluster.addRoot() });
  const { metadata } = await contree.operations.get(uuid);
  assert.partialDeepStrictEqual(metadata, { instance: { idle_timeout: 1_000, lifetime: 2_000 } });
});

test('a port at a node that is lost names the node', async () => {
  await using cluster = await TestCluster.open(await postgres.database());
  const { node: asked } = await cluster.join('asked', { works: false });
  const works = await cluster.join('works');
  const tenant = { project: 'default', isOwner: true };
  const instance = await opened(asked.forTenant(tenant), { image: await cluster.addRoot() });
  // Nothing listens there any more, while its lease still holds. The address that is known is remembered for a moment.
  await cluster.database.run(`UPDATE nodes SET url = 'http://127.0.0.1:1' WHERE name = $1`, works.name);
  const target = { instance, port: PORT };
  await until(() =>
    asked.connect(tenant, target, signal).then(
      () => false,
      (error: unknown) => isFault(error, 'NODE_UNREACHABLE'),
    ),
  );
});
