import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fault } from '../../src/contract/errors.ts';
import type { OperationEvent } from '../../src/contract/event.ts';
import { eventStream } from '../../src/http/api/event-stream.ts';
import { startServer } from '../support/servers/http-server.ts';
import { LoopWatch } from '../support/time/stopwatch.ts';
import { until } from '../support/time/until.ts';

function idsOf(text: string): number[] {
  return [...text.matchAll(/^id: (\d+)$/gmu)].map(([, id]) => Number(id));
}

const heard = (): undefined => undefined;

async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += Buffer.from(chunk).toString();
  return text;
}

test('a finished log is replayed whole, from an id on, and for one process', async () => {
  await using server = await startServer();
  const image = server.contree.addImage();
  const { uuid } = await server.contree.runs.start({ command: 'echo', args: ['hi'], image });
  const base = `/v1/operations/${uuid}/events`;
  const whole = await server.send('GET', `${base}?follow=1&since=-1`, { headers: { Accept: 'text/event-stream' } });
  assert.equal(whole.headers['content-type'], 'text/event-stream');
  assert.equal(whole.headers['cache-control'], 'no-cache');
  assert.deepEqual(idsOf(whole.text), [0, 1, 2, 3]);
  assert.match(whole.text, /^id: 3\nevent: completion\ndata: \{.*"status":"SUCCESS".*\}\n\n$/mu);
  assert.deepEqual(idsOf((await server.send('GET', base)).text), [0, 1, 2, 3]);
  assert.deepEqual(idsOf((await server.send('GET', `${base}?since=1`)).text), [2, 3]);
  const resumed = await server.send('GET', `${base}?since=0`, { headers: { 'Last-Event-Id': '2' } });
  assert.deepEqual(idsOf(resumed.text), [3], 'the header wins: it is what a reconnecting client sends');
  assert.deepEqual(idsOf((await server.send('GET', `${base}?spid=0`)).text), [3]);
  assert.equal((await server.send('GET', base, { headers: { 'Last-Event-Id': 'x' } })).status, 400);
});

test('without follow a running log is replayed and closed', async () => {
  await using server = await startServer();
  const { uuid } = await server.contree.runs.start({ command: 'sleep', image: server.contree.addImage() });
  await new Promise(setImmediate);
  assert.deepEqual(idsOf((await server.send('GET', `/v1/operations/${uuid}/events`)).text), [0]);
});

test('imports, failures and cancellations end with a completion too', async () => {
  await using server = await startServer();
  const good = await server.contree.images.import({ registry: { url: 'alpine' } });
  const bad = await server.contree.images.import({ registry: { url: 'missing' } });
  const stopped = await server.contree.runs.start({ command: 'sleep', image: server.contree.addImage() });
  await server.contree.operations.cancel(stopped.uuid);
  for (const [uuid, status] of [
    [good.uuid, 'SUCCESS'],
    [bad.uuid, 'FAILED'],
    [stopped.uuid, 'CANCELLED'],
  ] as const) {
    const { text } = await server.send('GET', `/v1/operations/${uuid}/events?follow=1`);
    assert.match(text, new RegExp(`event: completion\\ndata: .*"status":"${status}"`, 'u'));
  }
});

test('an unknown operation is 404, one that is not ready 425 with the time to wait', async () => {
  await using server = await startServer();
  assert.equal((await server.send('GET', `/v1/operations/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/events`)).status, 404);
  const { uuid } = await server.contree.images.import({ registry: { url: 'alpine' } });
  // eslint-disable-next-line require-yield -- a log that cannot be read yet
  server.contree.operations.events = async function* () {
    throw fault('INSTANCE_NOT_READY', { operation: uuid });
  };
  const early = await server.send('GET', `/v1/operations/${uuid}/events?follow=1`);
  assert.deepEqual([early.status, early.headers['retry-after']], [425, '1']);
});

test('silence is filled with keepalive comments', async () => {
  const quiet = Promise.withResolvers<void>();
  // eslint-disable-next-line require-yield -- a log in which nothing happens
  async function* events(): AsyncGenerator<OperationEvent> {
    await quiet.promise;
  }
  const stream = await eventStream(events(), heard, 5);
  const iterator = stream[Symbol.asyncIterator]();
  assert.equal(Buffer.from((await iterator.next()).value as Uint8Array).toString(), ': keepalive\n\n');
  quiet.resolve();
  while (!(await iterator.next()).done);
});

test('a large event comes in pieces, and the next is not made before they are taken', async () => {
  const text = 'é'.repeat(200_000);
  let made = 0;
  async function* events(): AsyncGenerator<OperationEvent> {
    for (const id of [0, 1]) {
      made += 1;
      yield { id, ts: '', spid: 1, type: 'stdout', data: { value: text, encoding: 'ascii', truncated: false } };
    }
  }
  const iterator = (await eventStream(events(), heard))[Symbol.asyncIterator]();
  const pieces: Uint8Array[] = [];
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
    if (pieces.length < 4) assert.equal(made, 1);
    pieces.push(next.value);
  }
  assert.ok(pieces.every(({ byteLength }) => byteLength <= 128 * 1024));
  const whole = Buffer.concat(pieces).toString();
  assert.deepEqual(idsOf(whole), [0, 1]);
  assert.equal(whole.split(text).length, 3, 'both texts are whole');
});

test('a log that breaks later ends with sse_error, without what broke it', async () => {
  const errors: unknown[] = [];
  const later = Promise.withResolvers<void>();
  // eslint-disable-next-line require-yield -- a log that breaks before its first event
  async function* events(): AsyncGenerator<OperationEvent> {
    await later.promise;
    throw new Error('secret\nevent: stdout');
  }
  const stream = await eventStream(events(), (error) => void errors.push(error));
  later.resolve();
  const text = await textOf(stream);
  assert.match(text, /^: stream ended with error, retry since last event id\nevent: sse_error\ndata: [^\n]+\n\n$/u);
  assert.doesNotMatch(text, /secret/u);
  assert.equal(errors.length, 1);
});

test('a follower that leaves is forgotten at once', async () => {
  await using server = await startServer();
  const ended = Promise.withResolvers<void>();
  const { events } = server.contree.operations;
  server.contree.operations.events = async function* (...parameters) {
    try {
      yield* events(...parameters);
    } finally {
      ended.resolve();
    }
  };
  const { uuid } = await server.contree.runs.start({ command: 'sleep', image: server.contree.addImage() });
  const response = await server.open('GET', `/v1/operations/${uuid}/events?follow=1`);
  await once(response, 'data');
  response.on('error', () => undefined).destroy();
  await ended.promise;
  await until(() => server.activity.inFlight === 0);
});

test('readers that do not read hold nobody up and cost little memory', async () => {
  await using server = await startServer({ kind: 'tcp' });
  const big = 'x'.repeat(60_000);
  let flooded = 0;
  server.contree.programs['flood'] = () => 0;
  const { uuid } = await server.contree.runs.start({ command: 'sleep', image: server.contree.addImage() });
  server.contree.operations.events = async function* (_operation, _query, signal) {
    for (let id = 0; ; id += 1) {
      signal?.throwIfAborted();
      flooded += 1;
      const data = { value: big, encoding: 'ascii' as const };
      yield { id, ts: '2026-01-01T00:00:00Z', type: 'stdout', spid: 1, data };
      await new Promise(setImmediate);
    }
  };
  const { port } = new URL(server.address);
  const before = process.memoryUsage().rss;
  const sockets = Array.from({ length: 50 }, () => {
    const socket = connect(Number(port), '127.0.0.1').pause();
    socket.write(`GET /v1/operations/${uuid}/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    return socket.on('error', () => undefined);
  });
  await until(() => server.activity.inFlight === sockets.length);
  // The buffers of every reader's socket fill up; then the producers must stop.
  let seen = -1;
  while (seen !== flooded) {
    seen = flooded;
    // Only time can show that nothing moves any more: no event announces it.
    await delay(100);
  }
  using watch = new LoopWatch();
  assert.equal((await server.send('GET', '/v1/images')).status, 200);
  assert.ok(watch.ms < 500, 'others are served meanwhile');
  const grown = (process.memoryUsage().rss - before) / 2 ** 20;
  assert.ok(grown < 300, `${Math.round(grown)} MiB for 50 stuck readers`);
  for (const socket of sockets) socket.destroy();
  await until(() => server.activity.inFlight === 0);
});
