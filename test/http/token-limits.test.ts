import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addRoot, finished } from '../engine/bench.ts';
import { serveBench } from '../support/servers/served-engine.ts';

interface Me {
  readonly token_uuid: string;
  readonly token_expiration: number | null;
  readonly limits: Record<string, number>;
  readonly permissions: Record<string, boolean>;
}

test('whoami shows the token, and its limits where they are tighter than those of the engine', async () => {
  await using served = await serveBench();
  const plain = (await (await served.client()).send('GET', '/v1/whoami')).json as Me;
  assert.equal(plain.limits['instance_max_timeout'], 3_600);
  assert.equal(plain.limits['images_import_max_timeout'], 3_600);
  assert.ok(Number.isInteger(plain.limits['instance_max_concurrency']));
  assert.ok(Number.isInteger(plain.limits['images_import_max_concurrency']));
  assert.equal(plain.permissions['spawn'], true);
  assert.equal(plain.permissions['admin'], false);
  const limits = {
    instance_max_timeout: 20,
    instance_max_concurrency: 1,
    instance_max_lifetime: 600,
    instances_max_open: 2,
    images_import_max_timeout: 99_999,
  };
  const client = await served.client({ limits, expires_in: 60 });
  const tight = (await client.send('GET', '/v1/whoami')).json as Me;
  assert.equal(tight.token_uuid, client.uuid);
  assert.ok((tight.token_expiration ?? 0) * 1_000 > Date.now());
  const { images_import_max_concurrency: imports, ...own } = tight.limits;
  assert.equal(imports, plain.limits['images_import_max_concurrency']);
  assert.deepEqual(own, { ...limits, images_import_max_timeout: 3_600 });
});

test('a timeout beyond the limit of the token is refused, one that was not asked for is bounded', async () => {
  await using served = await serveBench();
  const { send } = await served.client({ limits: { instance_max_timeout: 20, images_import_max_timeout: 30 } });
  const image = served.bench.base.uuid;
  const refused = await send('POST', '/v1/instances', { body: { command: 'true', image, timeout: 21 } });
  assert.equal(refused.status, 400);
  assert.match(refused.text, /timeout: this token allows at most 20 seconds/u);
  const body = { registry: { url: 'alpine' }, timeout: 31 };
  assert.equal((await send('POST', '/v1/images/import', { body })).status, 400);
  const { uuid } = (await send('POST', '/v1/instances', { body: { command: 'true', image } })).json as { uuid: string };
  const { metadata } = await finished(served.bench.engine, uuid);
  assert.equal(metadata.timeout, 20);
});

test('runs beyond the limit of the token get 429 before anything is done, and others are not held up', async () => {
  await using served = await serveBench({ concurrency: 1 });
  const project = 'alpha';
  const { uuid: image } = await addRoot(served.bench.store.forProject(project));
  const { send } = await served.client({ project, limits: { instance_max_concurrency: 2 } });
  const spawn = () => send('POST', '/v1/instances', { body: { command: 'sleep', args: ['30'], image } });
  const [first, second] = [await spawn(), await spawn()];
  assert.deepEqual([first.status, second.status], [201, 201], 'one runs, one waits: both count');
  const third = await spawn();
  assert.deepEqual([third.status, (third.json as { code: string }).code], [429, 'OPERATION_LIMIT']);
  assert.ok(Number(third.headers['retry-after']) > 0);
  assert.equal(
    ((await send('GET', '/v1/operations')).json as unknown[]).length,
    2,
    'nothing was left of the refused one',
  );
  const other = await served.client({ project });
  const body = { command: 'true', image };
  assert.equal((await other.send('POST', '/v1/instances', { body })).status, 201, 'another token has its own limit');
  const { uuid } = first.json as { uuid: string };
  assert.equal((await send('DELETE', `/v1/operations/${uuid}`)).status, 202);
  await finished(served.bench.engine.forTenant({ project }), uuid);
  while ((await spawn()).status === 429);
});

test('metrics: operations by status, queue, phases of runs, bytes of the store; for who may see all projects', async () => {
  await using served = await serveBench({ concurrency: 1 });
  const { bench } = served;
  const { send } = await served.client({ permissions: ['metrics'] });
  const done = await bench.engine.runs.start({ command: 'echo x > /x', shell: true, image: bench.base.uuid });
  await finished(bench.engine, done.uuid);
  const slow = { command: 'sleep', args: ['30'], image: bench.base.uuid };
  const running = await bench.engine.runs.start(slow);
  const waiting = await bench.engine.runs.start(slow);
  for await (const { type } of bench.engine.operations.events(running.uuid, { follow: true }))
    if (type === 'spawn') break;
  await bench.engine.uploads.create(
    (async function* () {
      yield Buffer.from('12345');
    })(),
  );
  const { status, text } = await send('GET', '/metrics');
  assert.equal(status, 200);
  const has = (line: string): void => assert.ok(text.split('\n').includes(line), `${line}\n${text}`);
  has('contree_operations{status="EXECUTING"} 1');
  has('contree_operations{status="PENDING"} 1');
  has('contree_operations{status="SUCCESS"} 1');
  has('contree_operations{status="FAILED"} 0');
  has('contree_queue{queue="runs",state="running"} 1');
  has('contree_queue{queue="runs",state="waiting"} 1');
  has('contree_queue{queue="imports",state="waiting"} 0');
  has('contree_operations_ended_total{kind="instance",status="SUCCESS"} 1');
  for (const phase of ['queue', 'prepare', 'boot', 'exec', 'commit', 'teardown']) {
    has(`contree_run_phases_total{phase="${phase}"} 1`);
    assert.match(text, new RegExp(`^contree_run_phase_seconds_total\\{phase="${phase}"\\} [\\d.e-]+$`, 'mu'));
  }
  has('contree_store_bytes{what="files"} 5');
  assert.match(text, /^contree_store_bytes\{what="layers"\} [1-9]\d+$/mu);
  assert.match(text, /^contree_store_bytes\{what="database"\} [1-9]\d+$/mu);
  for (const { uuid } of [running, waiting]) await bench.engine.operations.cancel(uuid);
});
