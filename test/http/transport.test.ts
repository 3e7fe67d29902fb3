import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { createGunzip, gunzipSync } from 'node:zlib';
import { buffer } from 'node:stream/consumers';
import { Activity } from '../../src/http/activity.ts';
import { listen } from '../../src/http/listen.ts';
import { wantsGzip } from '../../src/http/reply.ts';
import { startServer } from '../support/servers/http-server.ts';

const GZIP = { headers: { 'Accept-Encoding': 'gzip, deflate' } };

test('a log that cannot be written fails nothing', () => {
  const log = new URL('../../src/http/log.ts', import.meta.url).href;
  const script = `
    import { openLog } from ${JSON.stringify(log)};
    const log = openLog('info', 1);
    for (let line = 0; line < 2_000; line += 1) log.info({ text: 'x'.repeat(1_000) }, 'request');
    setImmediate(() => process.exit(7));`;
  const full = openSync('/dev/full', 'w');
  const program = ['--input-type=module-typescript', '-e', script];
  const { status, stderr } = spawnSync(process.execPath, program, {
    stdio: ['ignore', full, 'pipe'],
    encoding: 'utf8',
  });
  closeSync(full);
  assert.equal(status, 7, stderr);
});

test('gzip is used only when it was asked for, for errors too', async () => {
  await using server = await startServer();
  const image = server.contree.addImage({ '/a': 'text' });
  assert.equal((await server.send('GET', '/v1/images')).headers['content-encoding'], undefined);
  const refused = await server.send('GET', '/v1/images', { headers: { 'Accept-Encoding': 'identity, gzip;q=0' } });
  assert.equal(refused.headers['content-encoding'], undefined);
  for (const path of [
    '/v1/images',
    '/v1/nope',
    `/v1/inspect/${image}/archive?path=/`,
    `/v1/inspect/${image}/list?path=/x`,
  ]) {
    const response = await server.open('GET', path, GZIP);
    assert.equal(response.headers['content-encoding'], 'gzip', path);
    assert.ok(gunzipSync(await buffer(response)).byteLength > 0, path);
  }
  const head = await server.send('HEAD', `/v1/inspect/${image}/download?path=/a`, GZIP);
  assert.deepEqual([head.headers['content-encoding'], head.text], [undefined, '']);
});

test('Accept-Encoding is read as the standard has it', () => {
  assert.ok(['gzip', 'GZIP', 'br, gzip;q=0.5', 'x-gzip'].every(wantsGzip));
  assert.ok(![null, '', 'br', 'gzip;q=0', 'gzip; q=0.000', 'gzippy'].some(wantsGzip));
});

test('a compressed stream can be decoded event by event', async () => {
  await using server = await startServer();
  const image = server.contree.addImage();
  const { uuid } = await server.contree.runs.start({ command: 'cat', image, stdin: { value: '', close: false } });
  const response = await server.open('GET', `/v1/operations/${uuid}/events?follow=1`, GZIP);
  const plain = response.pipe(createGunzip());
  let text = '';
  for await (const chunk of plain) {
    text += String(chunk);
    if (/event: spawn\n.*\n\n$/u.test(text))
      await server.contree.processes.write(uuid, 1, { value: 'live', close: false });
    if (/"value":"live"/u.test(text)) break;
  }
  assert.match(text, /event: stdout/u);
});

test('JSON above 64 KiB goes out in chunks, below it with its length', async () => {
  await using server = await startServer();
  const name = 'n'.repeat(200);
  const files = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`/d/${name}${index}`, '']));
  const image = server.contree.addImage(files);
  const large = await server.send('GET', `/v1/inspect/${image}/list?path=/d`);
  assert.equal(large.headers['content-length'], undefined);
  assert.equal(large.headers['transfer-encoding'], 'chunked');
  assert.equal((large.json as { files: [] }).files.length, 500);
  assert.ok(Number((await server.send('GET', `/v1/images`)).headers['content-length']) > 0);
});

test('a request id is taken over when it is a sane one, and made otherwise', async () => {
  await using server = await startServer();
  const given = await server.send('GET', '/healthz', { headers: { 'X-Request-Id': 'run-17.a' } });
  assert.equal(given.headers['x-request-id'], 'run-17.a');
  const insane = await server.send('GET', '/healthz', { headers: { 'X-Request-Id': 'a b"<script>' } });
  assert.match(insane.headers['x-request-id'] as string, /^[0-9a-f-]{36}$/u);
});

test('readyz tells whether requests can be answered now', async () => {
  let isReady = false;
  await using server = await startServer({ isReady: () => isReady });
  assert.equal((await server.send('GET', '/readyz')).status, 503);
  isReady = true;
  assert.deepEqual((await server.send('GET', '/readyz')).json, { status: 'ready' });
});

test('healthz answers, metrics counts what was asked and what others add', async () => {
  const samples = [{ labels: { what: 'a "b"' }, value: 1 }];
  const moreMetrics = async () => [{ name: 'more', help: 'More.', type: 'gauge' as const, samples }];
  await using server = await startServer({ moreMetrics });
  assert.deepEqual((await server.send('GET', '/healthz')).json, { status: 'ok', version: '1.2.3' });
  await server.send('GET', '/v1/images/../images');
  await server.send('GET', '/v1/images');
  const { text, headers } = await server.send('GET', '/metrics');
  assert.match(headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/u);
  assert.match(text, /^contree_http_requests_total\{route="GET \/images",status="200"\} 2$/mu);
  assert.match(text, /^contree_http_request_seconds_count\{route="GET \/images"\} 2$/mu);
  assert.match(text, /^contree_more\{what="a \\"b\\""\} 1$/mu);
  for (const line of text.trim().split('\n'))
    assert.match(line, /^(?:# (?:HELP|TYPE) \S+ .+|\w+(?:\{.*\})? [\d.e+-]+)$/u);
});

test('the unix socket is private: 0600 in a 0700 folder, and a stale one is replaced', async () => {
  await using server = await startServer({ kind: 'unix' });
  assert.equal(statSync(server.address).mode & 0o777, 0o600);
  assert.equal(statSync(dirname(server.address)).mode & 0o777, 0o700);
  const app = async (): Promise<Response> => new Response('second');
  await using second = await listen(app, { kind: 'unix', path: server.address }, new Activity());
  assert.equal((await server.send('GET', '/')).text, 'second');
  assert.equal(second.address, server.address);
});

test('a body that grows without end is cut off at the limit, declared or not', async () => {
  await using server = await startServer();
  const tooLarge = { 'Content-Length': String(17 * 1024 * 1024) };
  const declared = await server.send('POST', '/v1/gc', { headers: tooLarge, body: Buffer.alloc(17 * 1024 * 1024) });
  assert.equal(declared.status, 413);
  const chunked = { headers: { 'Transfer-Encoding': 'chunked' }, body: Buffer.alloc(17 * 1024 * 1024, ' ') };
  const counted = await server.send('POST', '/v1/gc', chunked);
  assert.deepEqual([counted.status, (counted.json as { code: string }).code], [413, 'BODY_TOO_LARGE']);
  assert.equal((await server.send('GET', '/healthz')).status, 200);
});

test('a failing download breaks the connection instead of ending as if it were whole', async () => {
  await using server = await startServer();
  const image = server.contree.addImage({ '/a': 'x' });
  server.contree.files.read = async () => ({
    path: '/a',
    size: 10,
    body: (async function* () {
      yield Buffer.from('abc');
      throw new Error('disk gone');
    })(),
  });
  await assert.rejects(
    server.send('GET', `/v1/inspect/${image}/download?path=/a`),
    /aborted|socket hang up|ECONNRESET/u,
  );
  assert.equal((await server.send('GET', '/healthz')).status, 200);
});

test('disposing a listener ends streams that are still open', async () => {
  const server = await startServer();
  const { uuid } = await server.contree.runs.start({ command: 'sleep', image: server.contree.addImage() });
  const response = await server.open('GET', `/v1/operations/${uuid}/events?follow=1`);
  const ended = new Promise<void>((resolve) => response.once('close', resolve));
  response.resume();
  response.on('error', () => undefined);
  await server[Symbol.asyncDispose]();
  await ended;
  assert.equal(server.activity.inFlight, 0);
});
