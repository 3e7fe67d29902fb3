import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { isFinished, type OperationStatus } from '../../src/contract/operation.ts';
import { finished } from '../engine/bench.ts';
import { wire } from '../support/servers/http-server.ts';
import { serveBench } from '../support/servers/served-engine.ts';
import { LoopWatch } from '../support/time/stopwatch.ts';
import { until } from '../support/time/until.ts';

type Fault = { readonly code: string; readonly error: string };

function raw(address: string, head: string): Promise<string> {
  const { port } = new URL(address);
  const socket = connect(Number(port), '127.0.0.1');
  socket.write(`${head}\r\nConnection: close\r\n\r\n`);
  return text(socket);
}

test('attack 38: a page that is rebound to loopback, or posts from elsewhere, gets 403 and nothing happens', async () => {
  await using served = await serveBench();
  const { token } = await served.client();
  const port = new URL(served.address).port;
  const status = async (...headers: string[]): Promise<string> => {
    const lines = ['GET /v1/images HTTP/1.1', `Authorization: Bearer ${token}`, ...headers];
    return /^HTTP\/1\.1 (\d+)/u.exec(await raw(served.address, lines.join('\r\n')))?.[1] ?? '';
  };
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, 'LOCALHOST', `[::1]:${port}`, '127.0.0.1']) {
    assert.equal(await status(`Host: ${host}`), '200', host);
  }
  const foreign = ['evil.com', `evil.com:${port}`, 'localhost.', `localhost.:${port}`, 'localhost.evil.com', '0.0.0.0'];
  const crooked = [
    '127.0.0.1@evil.com',
    'localhost:x',
    '127.1',
    '[::ffff:127.0.0.1]',
    '2130706433',
    'a b',
    '127.0.0.1.nip.io',
  ];
  for (const host of [...foreign, ...crooked]) {
    assert.match(await status(`Host: ${host}`), /^40[03]$/u, host);
  }
  assert.equal(await status(), '400', 'HTTP/1.1 without a Host');
  assert.match(await status('Host: localhost', 'Host: evil.com'), /^40[03]$/u, 'two of them');
  const origins = ['http://evil.com', 'null', 'http://localhost:1', 'file://'];
  for (const origin of origins) {
    assert.equal(await status(`Host: 127.0.0.1:${port}`, `Origin: ${origin}`), '403', origin);
  }
  assert.equal(await status(`Host: 127.0.0.1:${port}`, `Origin: http://127.0.0.1:${port}`), '200');
  // DNS rebinding: the same page, loaded from its own address, then resolved to ours, still sends its own name.
  const evil = { Host: `evil.com:${port}`, Origin: `http://evil.com:${port}`, Authorization: `Bearer ${token}` };
  const body = { command: 'true', image: served.bench.base.uuid };
  const posted = await wire(served.address).send('POST', '/v1/instances', { headers: evil, body });
  assert.deepEqual([posted.status, (posted.json as Fault).code], [403, 'ORIGIN_DENIED']);
  assert.deepEqual(await served.bench.engine.operations.list({}), []);
});

test('attack 39: no, wrong, cut, foreign and expired tokens are told apart from nothing but a good one', async () => {
  await using served = await serveBench();
  const good = await served.client();
  const { send } = wire(served.address);
  const asked = async (headers: Record<string, string>, path = '/v1/images'): Promise<number> =>
    (await send('GET', path, { headers })).status;
  assert.equal(await asked({ Authorization: `Bearer ${good.token}` }), 200);
  assert.equal(await asked({}), 401);
  assert.equal(await asked({}, `/v1/images?token=${good.token}&access_token=${good.token}`), 401, 'not in a query');
  assert.equal(await asked({ Cookie: `token=${good.token}` }), 401, 'not in a cookie, which a browser would send');
  assert.equal(await asked({ Authorization: good.token }), 401);
  assert.equal(await asked({ Authorization: `Basic ${Buffer.from(`x:${good.token}`).toString('base64')}` }), 401);
  const wrong = [
    'x',
    good.token.slice(0, -1),
    `${good.token}a`,
    good.token.toUpperCase(),
    good.uuid,
    '\u00ff'.repeat(10),
  ];
  for (const token of wrong) assert.ok([401, 403].includes(await asked({ Authorization: `Bearer ${token}` })), token);
  const brief = await served.client({ expires_in: 1 });
  // A slow machine may ask for the first time when it has expired.
  const state = async (): Promise<number> => asked({ Authorization: `Bearer ${brief.token}` });
  await until(async () => (await state()) !== 200);
  assert.equal(await state(), 403, 'expired');
  const answers = await Promise.all(
    ['x'.repeat(47), brief.token].map((token) =>
      send('GET', '/v1/images', { headers: { Authorization: `Bearer ${token}` } }),
    ),
  );
  assert.equal(answers[0]?.text, answers[1]?.text, 'an unknown token and an expired one look alike');
});

test('attack 39, 11: no secret reaches a log, a file or an answer', { timeout: 60_000 }, async () => {
  const program = join(import.meta.dirname, '../support/processes/logging-engine.ts');
  const child = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'pipe'] });
  const logged = text(child.stderr);
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { address, token, image, directory, socket } = JSON.parse(line) as Record<string, string>;
  assert.ok(address && token && image && directory && socket);
  const headers = { Authorization: `Bearer ${token}`, Cookie: 'canary-cookie', 'X-Request-Id': 'seen-in-the-log' };
  const { send } = wire(address);
  const answers: string[] = [];
  const say = async (method: string, path: string, body?: object, more: object = {}): Promise<void> => {
    const answer = await send(method, path, { headers: { ...headers, ...more }, ...(body && { body }) });
    // Request data is echoed only to the client that sent it.
    if (path !== '/v1/instances' || answer.status >= 400) answers.push(answer.text);
  };
  await say('GET', '/v1/images?token=canary-query&password=canary-query2');
  await say('GET', '/v1/images', undefined, { Authorization: 'Bearer canary-bearer' });
  const credentials = { username: 'u', password: 'canary-password' };
  await say('POST', '/v1/images/import', { registry: { url: 'docker://a:canary-url@r.example/x', credentials } });
  await say('POST', '/v1/images/import', { registry: { url: 'missing', credentials } });
  const env = { API_TOKEN: 'canary-env', DB_PASSWORD: 'canary-env2' };
  const run = { command: 'cat', image, env, stdin: { value: 'canary-stdin', close: true }, disposable: true };
  await say('POST', '/v1/instances', run);
  await say('POST', '/v1/instances', { ...run, nope: 'canary-field' });
  await say('POST', '/v1/instances', { ...run, timeout: 'canary-wrong-type' });
  const made = await wire(socket).send('POST', '/v1/tokens', { body: { name: 'one' } });
  const secret = (made.json as { token: string }).token;
  const running = async (): Promise<boolean> => {
    const { json } = await send('GET', '/v1/operations', { headers: { Authorization: `Bearer ${token}` } });
    return (json as { status: OperationStatus }[]).some(({ status }) => !isFinished(status));
  };
  await until(async () => !(await running()));
  await say('GET', '/v1/operations');
  for (const { uuid } of JSON.parse(answers.at(-1) ?? '[]') as { uuid: string }[])
    await say('GET', `/v1/operations/${uuid}`);
  await say('GET', '/v1/tokens');
  const files = await readdir(directory, { recursive: true, withFileTypes: true });
  const contents = await Promise.all(
    files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'latin1')),
  );
  child.stdin.end('\n');
  const log = await logged;
  assert.ok(log.includes('seen-in-the-log') && log.includes('"method":"POST"'), 'the log was written');
  for (const canary of [
    'canary-password',
    'canary-url',
    'canary-env',
    'canary-query',
    'canary-bearer',
    'canary-cookie',
    token,
    secret,
  ]) {
    assert.ok(!log.includes(canary), `${canary} is in the log`);
    assert.ok(!contents.join('').includes(canary), `${canary} is in a file`);
    assert.ok(!answers.join('').includes(canary), `${canary} is in an answer`);
  }
  for (const canary of ['canary-stdin', 'canary-field', 'canary-wrong-type']) assert.ok(!log.includes(canary), canary);
});

test(
  'attack 40: arguments of any size and shape get a typed answer, and the process lives',
  { timeout: 60_000 },
  async () => {
    await using served = await serveBench();
    const { send } = await served.client();
    const image = served.bench.base.uuid;
    const run = (fields: string): string => `{"image":"${image}","command":"true"${fields}}`;
    const big = 'x'.repeat(10 * 1024 * 1024);
    const deep = `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`;
    const cases: [string, number, string][] = [
      [run(`,"args":["${big}"]`), 400, 'ARGUMENT_INVALID'],
      [run(`,"env":{"A":"${big}"}`), 400, 'ARGUMENT_INVALID'],
      [run(`,"cwd":"/${big}"`), 400, 'ARGUMENT_INVALID'],
      [run(`,"hostname":"${big}"`), 400, 'ARGUMENT_INVALID'],
      [`{"image":"${big}","command":"true"}`, 400, 'ARGUMENT_INVALID'],
      [run(`,"stdin":{"value":"${big}${big.slice(0, 2 * 1024 * 1024)}"}`), 400, 'ARGUMENT_INVALID'],
      [run(`,"x":"${big}${big}"`), 413, 'BODY_TOO_LARGE'],
      [run(`,"env":${deep}`), 413, 'BODY_TOO_COMPLEX'],
      [deep, 413, 'BODY_TOO_COMPLEX'],
      [run(',"timeout":NaN'), 400, 'ARGUMENT_INVALID'],
      [run(',"timeout":-1'), 400, 'ARGUMENT_INVALID'],
      [run(',"timeout":1e999'), 400, 'ARGUMENT_INVALID'],
      [run(',"timeout":1.5'), 400, 'ARGUMENT_INVALID'],
      [run(',"timeout":"60"'), 400, 'ARGUMENT_INVALID'],
      [run(',"uid":-1'), 400, 'ARGUMENT_INVALID'],
      [run(',"disposable":"yes"'), 400, 'ARGUMENT_INVALID'],
      [run(',"tiemout":5'), 400, 'ARGUMENT_INVALID'],
      [run(',"files":{"/x":{"uuid":"../../etc/passwd"}}'), 404, 'UPLOAD_NOT_FOUND'],
      [run(',"files":{"../x":{"uuid":"a"}}'), 400, 'PATH_INVALID'],
    ];
    for (const [body, status, code] of cases) {
      const answer = await send('POST', '/v1/instances', { body });
      const { code: found, error } = answer.json as Fault;
      assert.deepEqual([answer.status, found], [status, code], body.slice(0, 120));
      assert.ok(error.length < 10_000, 'the answer does not repeat what was too much');
    }
    const twice = await send('POST', '/v1/instances', { body: run(',"disposable":false,"disposable":true') });
    assert.equal((twice.json as { disposable: boolean }).disposable, true, 'of two equal fields the last counts');
    assert.equal((await send('GET', '/v1/whoami')).status, 200);
  },
);

test('attack 41: a client that goes away loses nothing, and a cancel is done within two seconds', async () => {
  await using served = await serveBench();
  const { bench } = served;
  const { send, open } = await served.client();
  const body = { command: 'sleep 0.3; echo survived', shell: true, image: bench.base.uuid };
  const { uuid } = (await send('POST', '/v1/instances', { body })).json as { uuid: string };
  const following = await open('GET', `/v1/operations/${uuid}/events?follow=1`);
  await once(following, 'data');
  following.on('error', () => undefined).destroy();
  const { status, result } = await finished(bench.engine, uuid);
  assert.equal(status, 'SUCCESS');
  assert.equal(result?.image, bench.base.uuid);
  assert.match((await send('GET', `/v1/operations/${uuid}/events`)).text, /survived/u, 'its log is there later');
  const endless = (await send('POST', '/v1/instances', { body: { ...body, command: 'sleep 600' } })).json as {
    uuid: string;
  };
  for await (const { type } of bench.engine.operations.events(endless.uuid, { follow: true }))
    if (type === 'spawn') break;
  assert.equal(bench.driver.live, 1);
  using watch = new LoopWatch();
  assert.equal((await send('DELETE', `/v1/operations/${endless.uuid}`)).status, 202);
  assert.equal((await finished(bench.engine, endless.uuid)).status, 'CANCELLED');
  await until(() => bench.driver.live === 0);
  assert.ok(watch.ms < 2_000);
});

test(
  'attack 42: five hundred connections, some that never finish asking, some that never read',
  { timeout: 60_000 },
  async () => {
    await using served = await serveBench();
    const { bench } = served;
    const { send, token } = await served.client();
    const flood = { command: 'flood', args: ['6000000'], image: bench.base.uuid, truncate_output_at: 8_000_000 };
    const loud = await bench.engine.runs.start({ ...flood, disposable: true });
    await finished(bench.engine, loud.uuid);
    const quiet = await bench.engine.runs.start({ command: 'sleep', args: ['600'], image: bench.base.uuid });
    const port = Number(new URL(served.address).port);
    const before = process.memoryUsage().rss;
    const sockets: Socket[] = [];
    const opened = (head: string): Socket => {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      sockets.push(socket.pause());
      socket.write(head);
      return socket;
    };
    const ask = (path: string): string =>
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`;
    for (let index = 0; index < 300; index += 1) opened(ask(`/v1/operations/${quiet.uuid}/events?follow=1`));
    for (let index = 0; index < 50; index += 1) opened(ask(`/v1/operations/${loud.uuid}/events?follow=1`));
    for (let index = 0; index < 100; index += 1) opened('GET /v1/images HTTP/1.1\r\nHost: loc');
    for (let index = 0; index < 50; index += 1) opened('');
    await Promise.all(sockets.filter(({ connecting }) => connecting).map((socket) => once(socket, 'connect')));
    const times: number[] = [];
    for (let index = 0; index < 50; index += 1) {
      using watch = new LoopWatch();
      assert.equal((await send('GET', `/v1/inspect/${bench.base.uuid}/list?path=/etc`)).status, 200);
      times.push(watch.ms);
    }
    const median = times.toSorted((a, b) => a - b)[25] ?? Infinity;
    assert.ok(median < 250, `others are served meanwhile: ${median.toFixed(0)} ms`);
    const grown = (process.memoryUsage().rss - before) / 2 ** 20;
    assert.ok(grown < 400, `${grown.toFixed(0)} MiB for 500 connections, both ends of them`);
    for (const socket of sockets) socket.destroy();
    await bench.engine.operations.cancel(quiet.uuid);
    assert.equal((await send('GET', '/v1/whoami')).status, 200);
  },
);
