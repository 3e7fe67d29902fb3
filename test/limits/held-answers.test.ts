import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { HeldAnswers } from '../../src/http/held-answers.ts';
import { MIB } from '../support/memory.ts';
import { startServer } from '../support/servers/http-server.ts';
import { until } from '../support/time/until.ts';

test('the project that holds the most loses its oldest answer, and nobody else does', () => {
  const held = new HeldAnswers(100);
  const cut: string[] = [];
  const hold = (name: string, bytes: number): Disposable =>
    held.hold({ project: name.slice(0, 1), bytes, cut: () => cut.push(name) });
  hold('a1', 30);
  const second = hold('a2', 30);
  hold('b1', 40);
  assert.deepEqual([cut, held.bytes], [[], 100]);
  hold('b2', 1);
  assert.deepEqual([cut, held.bytes], [['a1'], 71]);
  hold('b3', 30);
  assert.deepEqual([cut, held.bytes], [['a1', 'b1'], 61]);
  second[Symbol.dispose]();
  second[Symbol.dispose]();
  assert.equal(held.bytes, 31);
  hold('a3', 101);
  assert.deepEqual([cut.at(-1), held.bytes], ['a3', 31], 'one that is too large itself');
});

test('readers that do not read lose their answers, oldest first, and others are answered', async () => {
  const answerBytes = 16 * MIB;
  const held = new HeldAnswers(4.5 * answerBytes);
  await using server = await startServer({ kind: 'tcp', held });
  const image = server.contree.addImage();
  const path = 'x'.repeat(answerBytes);
  let asked = 0;
  server.contree.files.list = async () => {
    asked += 1;
    return { path, files: [] };
  };
  const route = `/v1/inspect/${image}/list?path=/`;
  const port = Number(new URL(server.address).port);
  const sockets = Array.from({ length: 6 }, () => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`GET ${route} HTTP/1.1\r\nHost: localhost\r\n\r\n`));
    return socket.on('error', () => undefined).pause();
  });
  const inFlight = (): number => server.activity.inFlight;
  // Six asked, and four answers fit.
  await until(() => asked === sockets.length && inFlight() === 4);
  const { status, text } = await server.send('GET', route);
  assert.deepEqual([status, text.length > answerBytes], [200, true]);
  assert.ok(held.bytes <= 4.5 * answerBytes);
  await until(() => inFlight() === 3);
  for (const socket of sockets) socket.destroy();
  await until(() => held.bytes === 0);
});
