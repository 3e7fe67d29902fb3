import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { createGunzip } from 'node:zlib';
import type { OperationResponse } from '../../src/contract/operation.ts';
import { IMPORTER } from '../conformance/contree.ts';
import { addRoot, finished } from '../engine/bench.ts';
import { serveBench, type ServedEngine, type TokenClient } from '../support/servers/served-engine.ts';

/** Compatibility checklist of the hosted contract, over TCP against the real engine. */
async function served(): Promise<ServedEngine & { readonly client0: TokenClient; readonly image: string }> {
  const engine = await serveBench({ importer: IMPORTER });
  return Object.assign(engine, { client0: await engine.client(), image: engine.bench.base.uuid });
}

async function operation(here: { client0: TokenClient } & ServedEngine, body: object): Promise<OperationResponse> {
  const { json, status, headers } = await here.client0.send('POST', '/v1/instances', { body });
  assert.equal(status, 201);
  const { uuid } = json as { uuid: string };
  assert.equal(headers.location, `/v1/operations/${uuid}`);
  await finished(here.bench.engine, uuid);
  return (await here.client0.send('GET', `/v1/operations/${uuid}?inflight=1`)).json as OperationResponse;
}

test('1 any path prefix; Project is accepted and not required', async () => {
  await using here = await served();
  const { send } = here.client0;
  for (const prefix of ['', '/sandboxes', '/a/b/c', '/v2']) {
    const headers = prefix === '' ? {} : { Project: 'aiproject-e00' };
    assert.equal((await send('GET', `${prefix}/v1/images`, { headers })).status, 200, prefix);
  }
});

test('2 status codes and Location', async () => {
  await using here = await served();
  const { send } = here.client0;
  const imported = await send('POST', '/v1/images/import', { body: { registry: { url: 'docker://r.example/a:1' } } });
  assert.equal(imported.status, 201);
  assert.equal(imported.headers.location, `/v1/operations/${(imported.json as { uuid: string }).uuid}`);
  assert.equal((await send('POST', '/v1/files', { body: 'x' })).status, 201);
  const { uuid } = (
    await send('POST', '/v1/instances', { body: { command: 'sleep', args: ['60'], image: here.image } })
  ).json as { uuid: string };
  const cancelled = await send('DELETE', `/v1/operations/${uuid}`);
  assert.deepEqual([cancelled.status, cancelled.text], [202, '']);
  await finished(here.bench.engine, uuid);
  const again = await send('DELETE', `/v1/operations/${uuid}`);
  assert.equal(again.status, 409);
  assert.match((again.json as { error: string }).error, /is not cancellable/u);
  await send('PATCH', `/v1/images/${here.image}/tag`, { body: { tag: 'a' } });
  const removed = await send('DELETE', `/v1/images/${here.image}/tag?tag=a`);
  assert.deepEqual([removed.status, removed.text], [204, '']);
  const early = await send('POST', `/v1/operations/${uuid}/subprocesses`, { body: { command: 'true' } });
  assert.equal(early.status, 409, 'nothing runs any more');
});

test('2 425 with Retry-After while the guest comes up', async () => {
  const booting = Promise.withResolvers<void>();
  await using engine = await serveBench({ hooks: { beforeBoot: () => booting.promise } });
  const { send } = await engine.client();
  const body = { command: 'cat', image: engine.bench.base.uuid, stdin: { value: '', close: false } };
  const { uuid } = (await send('POST', '/v1/instances', { body })).json as { uuid: string };
  for (const path of ['', '/1/stdin']) {
    const sent = path === '' ? { command: 'true' } : { value: 'x' };
    const early = await send('POST', `/v1/operations/${uuid}/subprocesses${path}`, { body: sent });
    assert.deepEqual([early.status, early.headers['retry-after']], [425, '1'], path);
  }
  booting.resolve();
  for await (const { type } of engine.bench.engine.operations.events(uuid, { follow: true }))
    if (type === 'spawn') break;
  assert.equal((await send('POST', `/v1/operations/${uuid}/subprocesses`, { body: { command: 'true' } })).status, 201);
});

test('3 gzip only when asked for, streams flushed event by event; large JSON in chunks without a length', async () => {
  await using here = await served();
  const { send, open } = here.client0;
  const zipped = { headers: { 'Accept-Encoding': 'gzip' } };
  assert.equal((await send('GET', '/v1/images')).headers['content-encoding'], undefined);
  for (const path of ['/v1/images', '/v1/images/nope/lineage', `/v1/inspect/${here.image}/archive?path=/`]) {
    const answer = await open('GET', path, zipped);
    assert.equal(answer.headers['content-encoding'], 'gzip', path);
    answer.resume();
  }
  const body = { command: 'cat', image: here.image, stdin: { value: 'first', close: false } };
  const { uuid } = (await send('POST', '/v1/instances', { body })).json as { uuid: string };
  const stream = await open('GET', `/v1/operations/${uuid}/events?follow=1`, zipped);
  const plain = stream.pipe(createGunzip());
  let seen = '';
  while (!seen.includes('"first"')) seen += String((await once(plain, 'data'))[0]);
  assert.ok(!seen.includes('completion'), 'decoded while the process still runs');
  await send('POST', `/v1/operations/${uuid}/subprocesses/1/stdin`, { body: { value: '', close: true } });
  for await (const chunk of plain) seen += String(chunk);
  assert.match(seen, /event: completion\n/u);
  async function* contents(): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < 500; index += 1) yield Buffer.from(String(index));
  }
  await here.bench.engine.uploads.createMany(contents());
  const large = await send('GET', '/v1/files?limit=1000');
  assert.ok(large.text.length > 65_536);
  assert.deepEqual([large.headers['content-length'], large.headers['transfer-encoding']], [undefined, 'chunked']);
});

test('4 and 5 shapes: what is wrapped, what is an array, what is never null, what is an integer', async () => {
  await using here = await served();
  const { send } = here.client0;
  const done = await operation(here, { command: 'sleep', args: ['0.02'], image: here.image, env: null });
  assert.ok(typeof done.duration === 'number' && typeof done.created_at === 'string');
  assert.ok('command' in done.metadata);
  const { env, stdin, result } = done.metadata;
  assert.deepEqual([env, stdin?.value], [{}, '']);
  assert.deepEqual([typeof result.stdout?.value, typeof result.stderr?.value], ['string', 'string']);
  const { cost, elapsed_time, monotonic_time, system_cpu_time, user_cpu_time, ...whole } = result.resources ?? {};
  for (const [name, value] of Object.entries(whole)) assert.ok(Number.isInteger(value), name);
  for (const value of [cost, elapsed_time, monotonic_time, system_cpu_time, user_cpu_time])
    assert.equal(typeof value, 'number');
  assert.ok((elapsed_time ?? 0) > 0);
  const { uuid } = (
    await send('POST', '/v1/images/import', {
      body: { registry: { url: 'alpine', credentials: { username: '', password: '' } } },
    })
  ).json as { uuid: string };
  await finished(here.bench.engine, uuid);
  const imported = (await send('GET', `/v1/operations/${uuid}`)).json as OperationResponse;
  assert.ok('registry' in imported.metadata);
  assert.deepEqual(imported.metadata.registry.credentials, { username: '', password: '' });
  const operations = (await send('GET', '/v1/operations')).json as { duration: unknown; created_at: unknown }[];
  assert.ok(
    Array.isArray(operations) && operations.every((one) => typeof one.duration === 'number' && one.created_at !== null),
  );
  assert.ok(Array.isArray(((await send('GET', '/v1/images')).json as { images: unknown }).images));
  assert.ok(Array.isArray(((await send('GET', '/v1/files')).json as { files: unknown }).files));
});

test('6 and 10 tags: a relative redirect to a 200, exact matches first, earlier tags stay, a set tag moves', async () => {
  await using here = await served();
  const { send } = here.client0;
  const other = (await addRoot(here.bench.store, {}, 'other')).uuid;
  for (const tag of ['base', 'base/more', 'second'])
    await send('PATCH', `/v1/images/${here.image}/tag`, { body: { tag } });
  const found = await send('GET', '/prefix/v1/inspect/?tag=base');
  assert.deepEqual([found.status, found.headers.location], [302, `${here.image}/`]);
  assert.equal((await send('GET', `/prefix/v1/inspect/${found.headers.location}`)).status, 200);
  assert.equal((await send('GET', '/v1/inspect/')).status, 400);
  assert.match((await send('GET', '/v1/inspect/')).text, /tag is required/u);
  await send('PATCH', `/v1/images/${other}/tag`, { body: { tag: 'base/a' } });
  const { images } = (await send('GET', '/v1/images?tag=base')).json as { images: { uuid: string; tag: string }[] };
  assert.deepEqual(
    images.map(({ tag }) => tag),
    ['base', 'base/a', 'base/more'],
  );
  const moved = (await send('PATCH', `/v1/images/${other}/tag`, { body: { tag: 'base' } })).json as { uuid: string };
  assert.equal(moved.uuid, other);
  assert.equal((await send('GET', '/v1/inspect/?tag=base')).headers.location, `${other}/`);
  assert.equal((await send('GET', '/v1/inspect/?tag=second')).headers.location, `${here.image}/`);
});

test('7 logs of runs, imports, failures and cancellations: ids from 0, exit before a final completion, replayable', async () => {
  await using here = await served();
  const { send } = here.client0;
  const start = async (path: string, body: object): Promise<string> =>
    ((await send('POST', path, { body })).json as { uuid: string }).uuid;
  const cases: [string, string][] = [
    [await start('/v1/instances', { command: 'echo hi', shell: true, image: here.image }), 'SUCCESS'],
    [await start('/v1/instances', { command: 'crash', image: here.image }), 'FAILED'],
    [await start('/v1/images/import', { registry: { url: 'alpine' } }), 'SUCCESS'],
    [await start('/v1/images/import', { registry: { url: 'missing' } }), 'FAILED'],
  ];
  const stopped = await start('/v1/instances', { command: 'sleep', args: ['60'], image: here.image });
  await send('DELETE', `/v1/operations/${stopped}`);
  for (const [uuid, status] of [...cases, [stopped, 'CANCELLED'] as const]) {
    await finished(here.bench.engine, uuid);
    const { text } = await send('GET', `/v1/operations/${uuid}/events?since=-1`);
    const ids = [...text.matchAll(/^id: (\d+)$/gmu)].map(([, id]) => Number(id));
    assert.deepEqual(
      ids,
      ids.map((_, index) => index),
    );
    const types = [...text.matchAll(/^event: (\w+)$/gmu)].map(([, type]) => type);
    assert.equal(types.at(-1), 'completion', status);
    assert.match(text.split('\n\n').at(-2) ?? '', new RegExp(`"status":"${status}"`, 'u'));
    const headers = { 'Last-Event-Id': String(ids.length - 2) };
    const rest = (await send('GET', `/v1/operations/${uuid}/events?follow=1`, { headers })).text;
    assert.equal([...rest.matchAll(/^id: /gmu)].length, 1, 'resumed after the last id');
  }
  const { text } = await send('GET', `/v1/operations/${cases[0]?.[0]}/events?spid=1`);
  assert.match(text, /event: exit\n/u);
});

test('8 and 9 TERM to process 1 is a success with an image, -1 stands for not set, signals are positive', async () => {
  await using here = await served();
  const { send } = here.client0;
  const script = 'echo x > /made; echo made; sleep 60';
  const { uuid } = (await send('POST', '/v1/instances', { body: { command: script, shell: true, image: here.image } }))
    .json as { uuid: string };
  for await (const { type } of here.bench.engine.operations.events(uuid, { follow: true }))
    if (type === 'stdout') break;
  const path = `/v1/operations/${uuid}/subprocesses/1`;
  const running = (await send('GET', path)).json as { state: { exit_code: number; signal: number } };
  assert.deepEqual([running.state.exit_code, running.state.signal], [-1, -1]);
  while ((await here.bench.engine.operations.get(uuid)).status !== 'EXECUTING') await new Promise(setImmediate);
  assert.equal((await send('DELETE', `${path}?signal=TERM`)).status, 204);
  const { status, result_image_uuid: image, metadata } = await finished(here.bench.engine, uuid);
  assert.equal(status, 'SUCCESS');
  assert.notEqual(image, here.image);
  const state = 'command' in metadata ? metadata.result.state : undefined;
  assert.deepEqual([state?.signal, state?.exit_code], [15, -1]);
});

test('11 every form of FileSpec.mode', async () => {
  await using here = await served();
  const { send } = here.client0;
  const { uuid } = (await send('POST', '/v1/files', { body: 'x' })).json as { uuid: string };
  const modes = ['0640', '640', '0o640', '0o100640', 0o640, 0o100640];
  const files = Object.fromEntries(modes.map((mode, index) => [`/f${index}`, { uuid, mode }]));
  const { result_image_uuid: image } = await operation(here, { command: 'true', image: here.image, files });
  for (const index of modes.keys()) {
    const item = (await send('GET', `/v1/inspect/${image}/stat?path=/f${index}`)).json as { mode: number };
    assert.equal(item.mode, 0o100640, String(modes[index]));
  }
});

test('12 and 13 what old clients send, and an invalid token', async () => {
  await using here = await served();
  const { send } = here.client0;
  const file = (await send('POST', '/v1/files', { body: 'x' })).json as { uuid: string; sha256: string; size: number };
  assert.deepEqual((await send('GET', `/v1/files?sha256=${file.sha256}`)).json, file);
  assert.equal((await send('GET', `/v1/files?sha256=${'0'.repeat(64)}`)).status, 404);
  assert.equal((await send('HEAD', `/v1/files?uuid=${file.uuid}`)).status, 200);
  assert.equal((await send('HEAD', `/v1/files?sha256=${'0'.repeat(64)}`)).status, 404);
  await send('PATCH', `/v1/images/${here.image}/tag`, { body: { tag: 'a' } });
  const untagged = await send('DELETE', `/v1/images/${here.image}/tag`);
  assert.equal((untagged.json as { tag: unknown }).tag, null);
  assert.equal((await send('GET', '/v1/images?kind=instance&tagged=0')).status, 200);
  const stdin = { value: '', encoding: 'ascii', truncated: false };
  const old = {
    command: '/bin/sh',
    args: ['-s'],
    shell: true,
    image: here.image,
    stdin,
    result: null,
    networking: null,
  };
  assert.equal((await operation(here, old)).status, 'SUCCESS');
  const headers = { Authorization: 'Bearer fake-token' };
  assert.equal((await send('GET', '/v1/images', { headers })).status, 403);
});

test('1.5 pages and times in every form', async () => {
  await using here = await served();
  const { send } = here.client0;
  await operation(here, { command: 'true', image: here.image });
  const count = async (query: string): Promise<number> => {
    const { status, json } = await send('GET', `/v1/operations?${query}`);
    assert.equal(status, 200, query);
    return (json as unknown[]).length;
  };
  const local = (ms: number): string => {
    const at = new Date(Date.now() + ms);
    return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().replace('Z', '456');
  };
  const ago = new Date(Date.now() - 60_000).toISOString();
  const forms = [
    '15m',
    '1h',
    '3d',
    '1w',
    '600s',
    '600',
    ago,
    String(Date.now() / 1_000 - 60),
    ago.replace('Z', '+00:00'),
    ago.replace('Z', '%2B00:00'),
    local(-60_000),
  ];
  for (const since of forms) assert.equal(await count(`since=${since}`), 1, since);
  for (const until of ['15m', '600', ago]) assert.equal(await count(`until=${until}`), 0, until);
  assert.equal(await count(`since=${local(60_000)}`), 0, 'naive is local time');
  assert.equal(await count(`since=${Math.ceil(Date.now() / 1_000) + 3_600}`), 0, 'a Unix timestamp');
  assert.equal(await count(`until=${Math.ceil(Date.now() / 1_000) + 3_600}`), 1, 'a Unix timestamp');
  assert.equal(await count('limit=1&offset=1'), 0);
  assert.equal(await count('status=SUCCESS&kind=instance&unknown=1'), 1);
  for (const query of ['limit=0', 'limit=1001', 'limit=x', 'offset=-1', 'since=yesterday', 'status=success']) {
    assert.equal((await send('GET', `/v1/operations?${query}`)).status, 400, query);
  }
});
