import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProjectUsage } from '../../../src/contract/server.ts';
import { addRoot, finished, seen } from '../bench.ts';
import { runHere } from '../../support/cli-bench.ts';
import type { Answer } from '../../support/servers/http-server.ts';
import { serveBench, type ServedEngine, type TokenClient } from '../../support/servers/served-engine.ts';

interface Tenant extends TokenClient {
  readonly project: string;
  readonly image: string;
  spawn(command: string, args?: readonly string[], more?: object): Promise<Answer>;
}

async function tenant(served: ServedEngine, project: string): Promise<Tenant> {
  const client = await served.client({ project });
  const { uuid: image } = await addRoot(served.bench.store.forProject(project), {}, project);
  const spawn = (command: string, args: readonly string[] = [], more = {}): Promise<Answer> =>
    client.send('POST', '/v1/instances', { body: { command, args, image, ...more } });
  return { ...client, project, image, spawn };
}

function uuidOf({ json }: Answer): string {
  return (json as { uuid: string }).uuid;
}

async function change(served: ServedEngine, project: string, body: object): Promise<Answer> {
  return served.owner.send('PATCH', `/v1/projects/${project}`, { body });
}

test('the default quota holds for every project, an own one for its project, and both are shown', async () => {
  await using served = await serveBench({ quota: { runs: 2, memory_mib: 4_096 } });
  const { send } = await tenant(served, 'alpha');
  assert.equal((await change(served, 'alpha', { runs: 3, instances: 1 })).status, 200);
  assert.equal((await change(served, 'alpha', { instances: null })).status, 200);
  const { quota, own_quota, used, queued } = (await send('GET', '/v1/usage')).json as ProjectUsage;
  assert.deepEqual([quota, own_quota], [{ runs: 3, memory_mib: 4_096 }, { runs: 3 }]);
  assert.deepEqual([used.runs, used.cpus, used.memory_mib, used.instances, queued], [0, 0, 0, 0, 0]);
  assert.ok(used.storage_bytes > 0, 'the root image');
  const { projects } = (await served.owner.send('GET', '/v1/projects')).json as { projects: ProjectUsage[] };
  assert.deepEqual(
    projects.map((one) => [one.project, one.quota.runs, one.own_quota]),
    [
      ['alpha', 3, { runs: 3 }],
      ['default', 2, {}],
    ],
  );
  const refused = await change(served, 'No%20Name', { runs: 1 });
  assert.deepEqual([refused.status, (refused.json as { code: string }).code], [400, 'PROJECT_INVALID']);
  assert.equal((await change(served, 'alpha', { runs: 0 })).status, 400);
});

test('runs beyond the quota wait while other projects go on, and start when it is raised', async () => {
  await using served = await serveBench({ concurrency: 4 });
  const [alpha, beta] = [await tenant(served, 'alpha'), await tenant(served, 'beta')];
  await change(served, 'alpha', { runs: 1 });
  const first = uuidOf(await alpha.spawn('sleep', ['60']));
  const second = uuidOf(await alpha.spawn('sleep', ['60']));
  const own = served.bench.engine.forTenant({ project: 'alpha' });
  await seen(own, first, ({ type }) => type === 'spawn');
  const other = served.bench.engine.forTenant({ project: 'beta' });
  assert.equal((await finished(other, uuidOf(await beta.spawn('true')))).status, 'SUCCESS');
  const { used, queued } = (await alpha.send('GET', '/v1/usage')).json as ProjectUsage;
  assert.deepEqual([used.runs, used.cpus, used.memory_mib, queued], [1, 1, 1_024, 1]);
  assert.equal((await own.operations.get(second)).status, 'PENDING');
  const { text } = await served.owner.send('GET', '/metrics');
  assert.match(text, /^contree_project_queued\{project="alpha"\} 1$/mu);
  assert.match(text, /^contree_project_quota\{project="alpha",what="runs"\} 1$/mu);
  await change(served, 'alpha', { runs: 2 });
  await seen(own, second, ({ type }) => type === 'spawn');
  for (const uuid of [first, second]) await own.operations.cancel(uuid);
});

test('a run or an instance that the quota never allows is refused at once, with the next step', async () => {
  await using served = await serveBench();
  const alpha = await tenant(served, 'alpha');
  await change(served, 'alpha', { memory_mib: 2_000, instances: 1 });
  const large = await alpha.spawn('true', [], { resources_limits: { memory_mib: 2_048 } });
  assert.equal(large.status, 403);
  const { code, message, hint } = large.json as Record<string, string>;
  assert.equal(code, 'QUOTA_EXCEEDED');
  assert.equal(message, 'the quota of project alpha is 2000 MiB of memory: 2048 were asked for');
  assert.match(hint ?? '', /contree usage.*contree project set/u);
  const open = (): Promise<Answer> => alpha.send('POST', '/v1/instances/open', { body: { image: alpha.image } });
  const instance = uuidOf(await open());
  const again = await open();
  assert.deepEqual([again.status, (again.json as { code: string }).code], [429, 'INSTANCE_LIMIT']);
  // The open instance may stay for days, so a run does not wait for its memory.
  const behind = await alpha.spawn('true');
  assert.match(behind.text, /2000 MiB of memory: 1024 are in use and 1024 were asked for/u);
  const own = served.bench.engine.forTenant({ project: 'alpha' });
  await own.instances.close(instance);
  await finished(own, instance);
  assert.equal((await finished(own, uuidOf(await alpha.spawn('true')))).status, 'SUCCESS');
});

test('a project with full storage keeps what it has and what was accepted, and stores nothing more', async () => {
  await using served = await serveBench();
  const alpha = await tenant(served, 'alpha');
  const own = served.bench.engine.forTenant({ project: 'alpha' });
  const { used } = await own.system.usage();
  await change(served, 'alpha', { storage_bytes: used.storage_bytes + 100 });
  const large = await alpha.send('POST', '/v1/files', { body: 'x'.repeat(101) });
  assert.deepEqual([large.status, (large.json as { code: string }).code], [403, 'QUOTA_EXCEEDED']);
  assert.equal((await own.uploads.list()).length, 0);
  assert.equal((await alpha.send('POST', '/v1/files', { body: 'x'.repeat(90) })).status, 201);
  // Its change exceeds the quota; a result that was computed is kept.
  const run = await finished(own, uuidOf(await alpha.spawn('sh', ['-c', 'echo full > /full'])));
  assert.equal(run.status, 'SUCCESS');
  const result = run.result?.image ?? '';
  assert.ok((await own.system.usage()).used.storage_bytes > used.storage_bytes + 100);
  const calls: readonly (readonly [string, object])[] = [
    ['/v1/instances', { command: 'true', image: result }],
    ['/v1/instances/open', { image: result }],
    ['/v1/images/import', { registry: { url: 'alpine' } }],
    ['/v1/builds', { dockerfile: 'FROM scratch' }],
  ];
  for (const [path, body] of calls) {
    const { status, text } = await alpha.send('POST', path, { body });
    assert.equal(status, 403, `${path}: ${text}`);
    assert.match(text, /QUOTA_EXCEEDED/u, path);
  }
  // Looking is free, and a disposable run stores nothing.
  const looked = await alpha.spawn('cat', ['/full'], { disposable: true, image: result });
  assert.equal((await finished(own, uuidOf(looked))).status, 'SUCCESS');
  await own.images.delete(result);
  await change(served, 'alpha', { storage_bytes: used.storage_bytes + 91 });
  assert.equal((await alpha.spawn('true')).status, 201, 'space that was freed is free at once');
});

test('on the command line: quotas are set in the words in which they are shown', async () => {
  await using served = await serveBench({ quota: { runs: 2 } });
  const contree = (...args: string[]) => runHere(served.bench.directory, args);
  const set = await contree('project', 'set', 'default', 'memory=8G', 'storage=1.5G', 'instances=3');
  assert.deepEqual([set.code, set.stdout, set.stderr], [0, '', '']);
  const usage = await contree('usage');
  for (const line of [/^project default$/mu, /^runs +0 +2$/mu, /^cpus +0 +-$/mu, /^memory +0 B +8\.0 GiB$/mu]) {
    assert.match(usage.stdout, line);
  }
  const listed = await contree('project', 'list');
  assert.match(listed.stdout, /^default +0 of 2 +0 +0 B of 8\.0 GiB\* +0 of 3\* +\S+ \S+ of 1\.5 GiB\* +0$/mu);
  await contree('project', 'set', 'default', 'memory=default');
  const { stdout } = await contree('--json', 'usage');
  assert.deepEqual((JSON.parse(stdout) as ProjectUsage).own_quota, { storage_bytes: 1.5 * 1024 ** 3, instances: 3 });
  for (const part of ['memory=many', 'disk=3', 'runs=0', 'runs']) {
    const refused = await contree('project', 'set', 'default', part);
    assert.equal(refused.code, 2, part);
    assert.match(refused.stderr, /expected/u);
  }
});
