import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { answerOf } from '../support/mcp/client.ts';
import { cliHome, ROOT, type CliHome } from '../support/home.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';
import { until } from '../support/time/until.ts';

const PROGRAM = join(ROOT, 'bin/contree-mcp');
const MICROVMS = ['--default-sandbox', 'microvm'];

interface Operation {
  readonly status: string;
  readonly metadata: { readonly result: { readonly stdout: { readonly value: string } } };
}

function send(child: ChildProcessWithoutNullStreams, message: object): void {
  child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
}

/** The program itself, with its output line by line. */
function start(home: CliHome): { child: ChildProcessWithoutNullStreams; lines: string[]; heard: () => Promise<void> } {
  const child = spawn(process.execPath, [PROGRAM, '--data-dir', home.dataDir, ...MICROVMS]);
  const lines: string[] = [];
  let next = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    next.resolve();
    next = Promise.withResolvers();
  });
  return { child, lines, heard: () => next.promise };
}

/** Polls until the operation is in one of the states. */
async function reached(home: CliHome, operation: string, ...states: readonly string[]): Promise<Operation> {
  let found = await home.json<Operation>(['show', operation]);
  await until(async () => {
    found = await home.json<Operation>(['show', operation]);
    return states.includes(found.status);
  });
  return found;
}

async function clientGoesAway(home: CliHome, image: string): Promise<void> {
  const { child, lines, heard } = start(home);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const clientInfo = { name: 'raw', version: '0' };
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo };
  send(child, { id: 0, method: 'initialize', params });
  send(child, { method: 'notifications/initialized' });
  // Longer than two steps of progress are apart.
  const run = { command: 'echo started; sleep 8; echo ended', image, timeout: 60 };
  send(child, {
    id: 1,
    method: 'tools/call',
    params: { name: 'run', arguments: run, _meta: { progressToken: 'p' } },
  });
  while (!lines.some((line) => line.includes('EXECUTING · started'))) await heard();
  child.stdin.end();
  const [code] = (await once(child, 'close')) as [number];
  assert.equal(code, 0);
  for (const line of lines) assert.equal((JSON.parse(line) as { jsonrpc: string }).jsonrpc, '2.0', line);
  const [, operation = ''] = /operation ([0-9a-f-]{36}) goes on/u.exec(stderr) ?? [];
  assert.ok(
    lines.some((line) => line.includes(operation)),
    'the client was told the id',
  );
  assert.equal((await home.json<Operation>(['show', operation])).status, 'EXECUTING');
  const ended = await reached(home, operation, 'SUCCESS', 'FAILED', 'CANCELLED');
  assert.equal(ended.status, 'SUCCESS');
  assert.equal(ended.metadata.result.stdout.value, 'started\nended\n');
}

async function userCancels(home: CliHome, image: string): Promise<void> {
  const client = new Client({ name: 'test', version: '0' }, { versionNegotiation: { mode: 'auto' } });
  const args = [PROGRAM, '--data-dir', home.dataDir, ...MICROVMS];
  await client.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'ignore' }));
  const stop = new AbortController();
  const said = Promise.withResolvers<void>();
  const cancelled = client.callTool(
    { name: 'run', arguments: { command: 'echo up; sleep 300', image } },
    { signal: stop.signal, onprogress: ({ message = '' }) => message.includes('up') && said.resolve() },
  );
  await said.promise;
  stop.abort('user pressed Esc');
  await assert.rejects(cancelled);
  const listed = answerOf(await client.callTool({ name: 'list_operations', arguments: { limit: 1 } }));
  const [{ uuid }] = listed.structured.operations as [{ uuid: string }];
  await reached(home, uuid, 'CANCELLED');
  await client.close();
}

test('a real run outlives the client that goes away, and ends with the call that its user cancels', async (context) => {
  await using registry = await FakeRegistry.start();
  await addBusybox(registry, '1');
  await using home = await cliHome();
  const reference = `docker://${registry.host}/team/app:1`;
  const { result_image_uuid: image } = await home.json<{ result_image_uuid: string }>(['import', reference]);
  await context.test('the server is gone in two seconds, the run ends in the engine', { timeout: 120_000 }, () =>
    clientGoesAway(home, image),
  );
  await context.test('a cancelled call ends its microVM long before the command would', { timeout: 120_000 }, () =>
    userCancels(home, image),
  );
});
