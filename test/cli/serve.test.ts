import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { connect } from '../../src/client/index.ts';
import { isFault } from '../../src/contract/errors.ts';

const PROGRAM = new URL('../../bin/contree', import.meta.url).pathname;

interface Place extends AsyncDisposable {
  readonly folder: string;
  start(...args: string[]): ChildProcess;
  run(...args: string[]): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
}

async function place(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-serve-'));
  const children: ChildProcess[] = [];
  const start = (...args: string[]): ChildProcess => {
    const env = { ...process.env, HOME: folder };
    const child = spawn(process.execPath, [PROGRAM, '--data-dir', join(folder, 'data'), ...args], { env });
    children.push(child);
    return child;
  };
  return {
    folder,
    start,
    run: async (...args) => {
      const child = start(...args);
      const [stdout, stderr] = await Promise.all([Array.fromAsync(child.stdout!), Array.fromAsync(child.stderr!)]);
      return {
        code: child.exitCode ?? (await once(child, 'exit'))[0],
        stdout: stdout.join(''),
        stderr: stderr.join(''),
      };
    },
    [Symbol.asyncDispose]: async () => {
      for (const child of children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Returns the TCP address that a server announces. */
async function addressOf(server: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: server.stdout! })) {
    const [, address] = /^listening on (https?:.*)$/u.exec(line) ?? [];
    if (address !== undefined) return address;
  }
  throw new Error('the server ended');
}

test('serve asks TCP clients for a token, which its owner makes; SIGTERM ends it', async () => {
  await using here = await place();
  const server = here.start('serve', '--http-port', '0');
  const address = await addressOf(server);
  assert.match(address, /^http:\/\/127\.0\.0\.1:\d+$/u);
  const { stdout: token } = await here.run('token', 'create', '--expires', '1h');
  assert.equal((await fetch(`${address}/v1/images`)).status, 401);
  assert.match(await (await fetch(`${address}/`)).text(), /<title>ConTree<\/title>/u, 'a page that asks for the token');
  assert.equal((await fetch(`${address}/healthz`)).status, 200);
  const remote = { url: address, token: token.trim(), env: {} };
  await using connection = await connect({ version: '1', program: 'test', server: { remote } });
  assert.deepEqual(await connection.images.list({}), []);
  await assert.rejects(connection.engine.stop({ only_idle: true }), (error: unknown) =>
    isFault(error, 'PERMISSION_MISSING'),
  );
  const byUrl = await here.run('--url', address, '--token', token.trim(), 'images', '--json');
  assert.deepEqual([byUrl.code, byUrl.stdout], [0, '[]\n']);
  server.kill('SIGTERM');
  await once(server, 'exit');
  assert.equal(server.exitCode, 0);
});

test('what an engine makes is closed to others, in a data directory that was open to them', async () => {
  await using here = await place();
  const data = join(here.folder, 'data');
  await mkdir(data, { mode: 0o755 });
  await chmod(data, 0o755);
  const server = here.start('serve', '--http-port', '0');
  await addressOf(server);
  await here.run('token', 'create');
  const entries = await readdir(data);
  assert.ok(entries.includes('store.sqlite-wal') && entries.includes('tokens.json'), entries.join(' '));
  for (const path of [data, ...entries.map((name) => join(data, name))]) {
    assert.equal((await stat(path)).mode & 0o077, 0, path);
  }
});

test('serve without tokens is for loopback only', async () => {
  await using here = await place();
  const refused = await here.run('serve', '--auth', 'none', '--http-listen', '0.0.0.0');
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /loopback only/u);
  const address = await addressOf(here.start('serve', '--auth', 'none', '--http-port', '0'));
  assert.equal((await fetch(`${address}/v1/images`)).status, 200);
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
  const headers = { 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream' };
  const tools = await (await fetch(`${address}/mcp`, { method: 'POST', headers, body })).text();
  assert.match(tools, /"import_image"/u);
  assert.doesNotMatch(tools, /"rsync"/u, 'the folders of the server are not for its clients');
  const foreign = await fetch(`${address}/v1/images`, { headers: { Origin: 'http://evil.com' } });
  assert.equal(foreign.status, 403);
});

/** Like systemd: the socket is already listening, is descriptor 3, and `LISTEN_PID` is the process itself. */
const ACTIVATOR = [
  'import os, socket, sys',
  'listener = socket.socket()',
  'listener.bind(("127.0.0.1", 0))',
  'listener.listen(16)',
  'os.dup2(listener.fileno(), 3)',
  'os.set_inheritable(3, True)',
  'print(listener.getsockname()[1], flush=True)',
  'os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")',
  'os.execv(sys.argv[1], sys.argv[1:])',
].join('\n');

test('socket activation: serve takes the listening socket that systemd hands over, and asks for tokens on it', async () => {
  await using here = await place();
  const data = join(here.folder, 'data');
  const argv = ['-c', ACTIVATOR, process.execPath, PROGRAM, 'serve', '--data-dir', data, '--http-port', '1'];
  const server = spawn('python3', argv, { env: { ...process.env, HOME: here.folder } });
  try {
    const lines = createInterface({ input: server.stdout })[Symbol.asyncIterator]();
    const port = Number((await lines.next()).value);
    // Connected before the engine accepts: the kernel queues the connection, and the engine answers once it runs.
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
    assert.equal((await fetch(`http://127.0.0.1:${port}/v1/images`)).status, 401);
    const { stdout: token } = await here.run('token', 'create');
    const headers = { Authorization: `Bearer ${token.trim()}` };
    assert.equal((await fetch(`http://127.0.0.1:${port}/v1/images`, { headers })).status, 200);
    server.kill('SIGTERM');
    const [code] = (await once(server, 'exit')) as [number];
    assert.equal(code, 0);
  } finally {
    if (server.exitCode === null) server.kill('SIGKILL');
  }
});

test('a socket that was meant for another process is not taken', async () => {
  await using here = await place();
  const data = join(here.folder, 'data');
  const env = { ...process.env, HOME: here.folder, LISTEN_PID: '1', LISTEN_FDS: '1' };
  const server = spawn(process.execPath, [PROGRAM, 'serve', '--data-dir', data, '--http-port', '0'], { env });
  assert.match(await addressOf(server), /^http:\/\/127\.0\.0\.1:\d+$/u);
  server.kill('SIGTERM');
  await once(server, 'exit');
});
