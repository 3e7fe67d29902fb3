import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, stat } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { openCli } from '../support/cli-bench.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

const PROGRAM = new URL('../../bin/contree-mcp', import.meta.url).pathname;

const LINK_TOKEN = /^open http:\/\/localhost:\d+\/#token=(\S+)$/u;
const ADDRESS = /^MCP at (https?:\S+)\/mcp/u;

/** Returns the address that the server announces. */
async function started(child: ChildProcess): Promise<string> {
  const [address] = await announced(child, ADDRESS);
  return address;
}

/** Returns the matches of the patterns in the lines of a server, which come in this order. */
async function announced<const Patterns extends readonly RegExp[]>(
  child: ChildProcess,
  ...patterns: Patterns
): Promise<{ [Index in keyof Patterns]: string }> {
  const found: string[] = [];
  for await (const line of createInterface({ input: child.stderr! })) {
    const [, text] = patterns[found.length]?.exec(line) ?? [];
    if (text !== undefined) found.push(text);
    if (found.length === patterns.length) return found as { [Index in keyof Patterns]: string };
  }
  throw new Error('the server ended');
}

async function end(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM');
  await once(child, 'exit');
  assert.equal(child.exitCode, 0);
}

test('contree-mcp serves an agent over its streams, on the engine of the data directory', async () => {
  await using cli = await openCli();
  cli.contree.addImage({}, 'common/base');
  const client = new Client({ name: 'test', version: '0' });
  const args = [PROGRAM, '--data-dir', cli.folder, '--tools', 'list_images,run'];
  await client.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'ignore' }));
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map(({ name }) => name).toSorted(), ['list_images', 'run']);
  const answer = await client.callTool({ name: 'list_images', arguments: {} });
  assert.match(JSON.stringify(answer.structuredContent), /common\/base/u);
  await client.close();
});

test('--mode http: MCP and the API at one address, for who has the token that it makes and keeps', async () => {
  await using cli = await openCli();
  cli.contree.addImage({}, 'common/base');
  const args = [PROGRAM, '--mode', 'http', '--http-port', '0', '--data-dir', cli.folder];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const [address, token] = await announced(child, ADDRESS, LINK_TOKEN);
  const headers = { Authorization: `Bearer ${token}` };
  const client = new Client({ name: 'test', version: '0' });
  const requestInit = { headers };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${address}/mcp`), { requestInit }));
  const answer = await client.callTool({ name: 'list_images', arguments: {} });
  assert.match(JSON.stringify(answer.structuredContent), /common\/base/u);
  await client.close();
  const images = (await (await fetch(`${address}/v1/images`, { headers })).json()) as { images: [] };
  assert.equal(images.images.length, 1);
  assert.match(await (await fetch(`${address}/`)).text(), /<title>ConTree<\/title>/u, 'a page that asks for the token');
  assert.equal((await fetch(`${address}/v1/engine/stop`, { method: 'POST', body: '{}', headers })).status, 403);
  assert.equal(
    (await fetch(`${address}/v1/images`, { headers: { ...headers, Origin: 'http://evil.com' } })).status,
    403,
  );
  await end(child);
  const again = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  assert.deepEqual((await announced(again, ADDRESS, LINK_TOKEN))[1], token, 'the same after a restart');
  await end(again);
});

test('--mode http: another user of the machine, who knows no token, gets nothing', async () => {
  await using cli = await openCli();
  const args = [PROGRAM, '--mode', 'http', '--http-port', '0', '--data-dir', cli.folder];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const [address, token] = await announced(child, ADDRESS, LINK_TOKEN);
  for (const path of ['/v1/images', '/v1/whoami', '/mcp', '/metrics']) {
    assert.equal((await fetch(`${address}${path}`)).status, 401, path);
    const wrong = { Authorization: `Bearer ${token.slice(0, -1)}_` };
    assert.equal((await fetch(`${address}${path}`, { headers: wrong })).status, 403, path);
  }
  const kept = join(cli.folder, 'http-token');
  assert.deepEqual([(await stat(kept)).mode & 0o777, (await readFile(kept, 'utf8')).trim()], [0o600, token]);
  await end(child);
  // A token file that others could read or could have created is not accepted.
  await chmod(kept, 0o644);
  const refused = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const told = (await Array.fromAsync(refused.stderr)).join('');
  assert.match(told, /http-token is not a file that only you may read/u);
});

test('--mode http --auth none: every program of this machine is let in, and nobody else', async () => {
  await using cli = await openCli();
  const args = [PROGRAM, '--mode', 'http', '--http-port', '0', '--data-dir', cli.folder, '--auth', 'none'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const address = await started(child);
  assert.equal((await fetch(`${address}/v1/images`)).status, 200);
  await end(child);
  const open = spawn(process.execPath, [...args, '--http-listen', '0.0.0.0'], { stdio: ['ignore', 'ignore', 'pipe'] });
  assert.match((await Array.fromAsync(open.stderr)).join(''), /--auth: none is allowed on loopback only/u);
});

test('--mode http: what no MCP client sends, and what web pages could, is refused at /mcp', async () => {
  await using cli = await openCli();
  const args = [PROGRAM, '--mode', 'http', '--http-port', '0', '--data-dir', cli.folder, '--auth', 'none'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const address = await started(child);
  const ping = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
  const status = async (method: string, headers: Record<string, string> = {}, body = ping): Promise<number> => {
    const sent = request(`${address}/mcp`, {
      method,
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
    });
    const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
    sent.on('error', () => undefined);
    sent.end(method === 'POST' ? body : undefined);
    const [response] = await answered;
    response.resume();
    return response.statusCode ?? 0;
  };
  assert.equal(await status('POST'), 200);
  assert.equal(await status('POST', { origin: address }), 200);
  assert.equal(await status('POST', { host: 'evil.example' }), 403);
  assert.equal(await status('POST', { host: `evil.example:${new URL(address).port}` }), 403);
  assert.equal(await status('POST', { origin: 'http://evil.example' }), 403);
  assert.equal(await status('POST', { origin: 'null' }), 403);
  assert.equal(await status('GET'), 405);
  assert.equal(await status('DELETE'), 405);
  assert.equal(await status('POST', { 'content-type': 'text/plain' }), 415);
  assert.equal(await status('POST', {}, 'not json'), 400);
  assert.equal(await status('POST', {}, `"${'x'.repeat(17 * 1024 * 1024)}"`), 413);
  assert.equal(await status('POST'), 200, 'it is still there');
  await end(child);
});

test('--mode http --token: nobody comes in without it', async () => {
  await using cli = await openCli();
  const args = [PROGRAM, '--mode', 'http', '--http-port', '0', '--data-dir', cli.folder];
  const env = { ...process.env, CONTREE_MCP_TOKEN: 'sesame' };
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const address = await started(child);
  const ask = async (path: string, token?: string): Promise<number> =>
    (await fetch(`${address}${path}`, token === undefined ? {} : { headers: { Authorization: `Bearer ${token}` } }))
      .status;
  assert.deepEqual(
    [await ask('/v1/images'), await ask('/v1/images', 'open'), await ask('/v1/images', 'sesame')],
    [401, 403, 200],
  );
  assert.equal(await ask('/mcp'), 401);
  await end(child);
});

for (const era of ['auto', 'legacy'] as const) {
  test(`--mode http, ${era}: a server that is told to stop leaves what runs alone`, async () => {
    await using cli = await openCli(new ScriptedContree({ work: ({ signalled }) => signalled.then(() => -1) }));
    const image = cli.contree.addImage();
    const args = [PROGRAM, '--mode', 'http', '--http-port', '0', '--data-dir', cli.folder, '--auth', 'none'];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const address = await started(child);
    const client = new Client({ name: 'test', version: '0' }, { versionNegotiation: { mode: era } });
    await client.connect(new StreamableHTTPClientTransport(new URL(`${address}/mcp`)));
    const told = Promise.withResolvers<void>();
    const call = client.callTool(
      { name: 'run', arguments: { command: 'work', image } },
      { onprogress: () => told.resolve() },
    );
    const refused = assert.rejects(call);
    await told.promise;
    await end(child);
    await client.close();
    await refused;
    assert.equal((await cli.contree.operations.list({}))[0]?.status, 'EXECUTING');
  });
}

test('a setting that makes no sense ends with 2 and one clear error, before anything starts', async () => {
  await using cli = await openCli();
  const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
    [['--mode', 'carrier-pigeon'], /--mode: expected stdio, http/u],
    [['--nope'], /--nope/u],
    [['extra'], /extra/u],
    [['--tools', 'run,rnu'], /--tools: unknown tool rnu/u],
    [['--inline-wait', '0'], /--inline-wait: expected a whole number from 1/u],
    [['--on-cancel', 'panic'], /--on-cancel: expected stop, detach/u],
    [['--mode', 'http', '--http-listen', '0.0.0.0', '--url', 'http://127.0.0.1:9'], /--token/u],
    [['--mode', 'http', '--http-listen', '0.0.0.0'], /--token: a server on the network needs one/u],
    [['--mode', 'http', '--http-listen', '::'], /--token: a server on the network needs one/u],
  ];
  for (const [args, message] of mistakes) {
    const child = spawn(process.execPath, [PROGRAM, '--data-dir', cli.folder, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [stdout, stderr] = await Promise.all([Array.fromAsync(child.stdout), Array.fromAsync(child.stderr)]);
    const code = child.exitCode ?? ((await once(child, 'exit')) as [number])[0];
    assert.deepEqual([code, stdout.join('')], [2, ''], args.join(' '));
    assert.match(stderr.join(''), message);
    assert.doesNotMatch(stderr.join(''), / {4}at /u);
  }
});
