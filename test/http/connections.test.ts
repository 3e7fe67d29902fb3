import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { wire } from '../support/servers/http-server.ts';

const PROGRAM = new URL('../../bin/contree', import.meta.url).pathname;
const DESCRIPTORS = 400;
const HALF_SENT = 3_000;
/** Longer than the server waits for headers. */
const FREE_MS_MAX = 30_000;

interface Served extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  readonly socket: string;
}

/** A real engine with this limit of open files. */
async function serve(): Promise<Served> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-connections-'));
  const line = `ulimit -n ${DESCRIPTORS}; exec "$@"`;
  const args = [process.execPath, PROGRAM, '--data-dir', join(folder, 'data'), 'serve', '--http-port', '0'];
  const child = spawn('sh', ['-c', line, 'sh', ...args], {
    env: { ...process.env, HOME: folder },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let port = 0;
  for await (const told of createInterface({ input: child.stdout })) {
    const [, found] = /^listening on http:\/\/127\.0\.0\.1:(\d+)$/u.exec(told) ?? [];
    if (found !== undefined) {
      port = Number(found);
      break;
    }
  }
  assert.ok(port > 0 && child.pid !== undefined, 'the engine listens');
  return {
    pid: child.pid,
    port,
    socket: join(folder, 'data/engine.sock'),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Opens connections that send only this. Those that are closed immediately count too. */
async function hold(port: number, head: string, count: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (let index = 0; index < count; index += 1) {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    sockets.push(socket.resume());
    socket.write(head);
    if (index % 50 === 49) await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
  }
  return sockets;
}

/** Returns the status of `/healthz` over TCP; undefined when the connection is closed without an answer. */
function health(port: number, localAddress: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    request({ host: '127.0.0.1', port, localAddress, path: '/healthz', agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', () => resolve(undefined))
      .end();
  });
}

test('thousands of half-sent requests leave descriptors for the owner, places for others, and go', async () => {
  await using served = await serve();
  const { port, socket, pid } = served;
  const heads = [
    'GET /v1/images HTTP/1.1\r\nHost: loc',
    'POST /v1/images/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{',
    '',
  ];
  const held: Socket[] = [];
  try {
    for (const head of heads) held.push(...(await hold(port, head, HALF_SENT / heads.length)));
    const owner = wire(socket);
    for (const path of ['/healthz', '/v1/whoami', '/v1/images']) {
      assert.equal((await owner.send('GET', path)).status, 200, `the owner is answered: ${path}`);
    }
    const descriptors = (await readdir(`/proc/${pid}/fd`)).length;
    assert.ok(descriptors < DESCRIPTORS * 0.75, `${descriptors} of ${DESCRIPTORS} descriptors are taken`);
    assert.equal(await health(port, '127.0.0.2'), 200, 'another address finds a place');
    const waited = AbortSignal.timeout(FREE_MS_MAX);
    const open = (): Socket[] => held.filter(({ closed }) => !closed);
    while (open().length > 0) await Promise.race(open().map((one) => once(one, 'close', { signal: waited })));
    assert.equal(await health(port, '127.0.0.1'), 200, 'their places are free again');
  } finally {
    for (const one of held) one.destroy();
  }
});
