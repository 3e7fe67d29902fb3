import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, type HttpContree } from '../../src/client/index.ts';
import { checkOwner } from '../../src/client/local/socket-owner.ts';
import { isFault } from '../../src/contract/errors.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

interface Impostor extends AsyncDisposable {
  readonly folder: string;
  readonly requests: string[];
  connect(): Promise<HttpContree>;
}

const VERSION = '1.0.0';

/** A server that is not an engine, at the path of an engine's socket. */
async function impostor(handler: Handler): Promise<Impostor> {
  const top = await mkdtemp(join(tmpdir(), 'contree-owner-'));
  const folder = join(top, 'data');
  await mkdir(folder, { mode: 0o700 });
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(request.url ?? '');
    request.resume();
    if (request.url === '/v1/engine') response.end(JSON.stringify({ version: VERSION, pid: 1, busy: false }));
    else handler(request, response);
  });
  const socket = join(folder, 'engine.sock');
  server.listen(socket);
  await once(server, 'listening');
  return {
    folder,
    requests,
    connect: () => {
      const command = { argv: ['false'], env: process.env, log: join(top, 'engine.log') } as const;
      const local = { socket, startLock: join(top, 'start.lock'), command };
      return connect({ version: VERSION, program: 'test', server: { local } });
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
      await rm(top, { recursive: true, force: true });
    },
  };
}

const refused = (reason: RegExp) => (error: unknown) =>
  isFault(error, 'ENGINE_UNAVAILABLE') && reason.test(error.message);

test('nothing is sent to a socket in a folder that others may write to', async () => {
  await using there = await impostor((_request, response) => void response.end('{}'));
  {
    await using contree = await there.connect();
    assert.equal((await contree.engine.status()).version, VERSION, 'in a private folder it would be');
  }
  there.requests.length = 0;
  for (const mode of [0o770, 0o702, 0o777]) {
    await chmod(there.folder, mode);
    await assert.rejects(there.connect(), refused(/other users may write/u), mode.toString(8));
  }
  assert.deepEqual(there.requests, []);
});

test('a folder of another user, and a link to one, are refused even before there is a socket', async () => {
  const mine = process.getuid;
  const top = await mkdtemp(join(tmpdir(), 'contree-owner-'));
  try {
    const folder = join(top, 'data');
    await mkdir(folder, { mode: 0o700 });
    checkOwner(join(folder, 'engine.sock'));
    checkOwner(join(top, 'not-there', 'engine.sock'));
    await symlink(folder, join(top, 'link'));
    assert.throws(() => checkOwner(join(top, 'link', 'engine.sock')), refused(/is not a directory/u));
    // Only root could change the folder's owner, so the test changes our own user id instead.
    process.getuid = () => (mine?.() ?? 0) + 1;
    assert.throws(() => checkOwner(join(folder, 'engine.sock')), refused(/belongs to another user/u));
  } finally {
    if (mine !== undefined) process.getuid = mine;
    await rm(top, { recursive: true, force: true });
  }
});

test('whatever a server answers, a follower asks again with pauses only, and ends when the answer is not an operation', async () => {
  let id = 0;
  await using there = await impostor((request, response) => {
    if (/events/u.test(request.url ?? '')) {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      response.end(`id: ${id}\ndata: ${JSON.stringify({ id: (id += 1), type: 'stdout', spid: 1, data: {} })}\n\n`);
    } else response.end(JSON.stringify(id < 6 ? { status: 'EXECUTING' } : {}));
  });
  await using contree = await there.connect();
  const startedMs = performance.now();
  const events = Array.fromAsync(contree.operations.events('x', { follow: true }, AbortSignal.timeout(60_000)));
  await assert.rejects(events, (error) => isFault(error, 'REMOTE_FAILED') && /without a status/u.test(error.message));
  assert.ok(performance.now() - startedMs >= 5 * 50 * 0.9, 'a pause before each connection but the first');
});
