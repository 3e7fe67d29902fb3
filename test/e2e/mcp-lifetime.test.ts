import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { answerOf } from '../support/mcp-client.ts';
import { cliHome, ROOT, type CliHome } from '../support/home.ts';
import { FakeRegistry } from '../support/registry.ts';
import { addBusybox } from '../support/small-image.ts';

const PROGRAM = join(ROOT, 'bin/contree-mcp');

interface Operation {
  readonly status: string;
  readonly metadata: { readonly result: { readonly stdout: { readonly value: string } } };
}

function send(child: ChildProcessWithoutNullStreams, message: object): void {
  child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
}

/** The raw program, its output collected line by line. */
function start(home: CliHome): { child: ChildProcessWithoutNullStreams; lines: string[]; heard: () => Promise<void> } {
  const child = spawn(process.execPath, [PROGRAM, '--data-dir', home.dataDir]);
  const lines: string[] = [];
  let next = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    next.resolve();
    next = Promise.withResolvers();
  });
  return { child, lines, heard: () => next.promise };
}

/** Asks until the operation is in one of the states. */
async function reached(home: CliHome, operation: string, ...states: readonly string[]): Promise<Operation> {
  for (;;) {
    const found = await home.json<Operation>(['show', operation]);
    if (states.includes(found.status)) return found;
    await delay(100);
  }
}

test(
  'a server whose client goes away is gone in two seconds, and the run it waited for ends in the engine',
  { timeout: 180_000 },
  async () => {
    await using registry = await FakeRegistry.start();
    await addBusybox(registry, '1');
    await using home = await cliHome();
    const reference = `docker://${registry.host}/team/app:1`;
    const { result_image_uuid: image } = await home.json<{ result_image_uuid: string }>(['import', reference]);
    const { child, lines, heard } = start(home);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const clientInfo = { name: 'raw', version: '0' };
    send(child, {
      id: 0,
      method: 'initialize',
      params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo },
    });
    send(child, { method: 'notifications/initialized' });
    const command = 'echo started; sleep 4; echo ended';
    const params = { name: 'run', arguments: { command, image, timeout: 60 }, _meta: { progressToken: 'p' } };
    send(child, { id: 1, method: 'tools/call', params });
    while (!lines.some((line) => line.includes('started'))) await heard();
    const endedMs = performance.now();
    child.stdin.end();
    const [code] = (await once(child, 'close')) as [number];
    const tookMs = performance.now() - endedMs;
    assert.equal(code, 0);
    assert.ok(tookMs < 2_000, `${tookMs} ms`);
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
  },
);

test(
  'a cancelled call ends its microVM, and a run is found again by whoever comes later',
  { timeout: 180_000 },
  async () => {
    await using registry = await FakeRegistry.start();
    await addBusybox(registry, '1');
    await using home = await cliHome();
    const client = new Client({ name: 'test', version: '0' }, { versionNegotiation: { mode: 'auto' } });
    const args = [PROGRAM, '--data-dir', home.dataDir];
    await client.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'ignore' }));
    const call = async (name: string, given: object, options?: Parameters<Client['callTool']>[1]) =>
      answerOf(await client.callTool({ name, arguments: { ...given } }, options));
    const { structured } = await call('import_image', { registry_url: `docker://${registry.host}/team/app:1` });
    const image = structured.image_uuid as string;
    await call('run', { command: 'true', image });
    const stop = new AbortController();
    const said = Promise.withResolvers<void>();
    const cancelled = call(
      'run',
      { command: 'echo up; sleep 300', image },
      { signal: stop.signal, onprogress: ({ message = '' }) => message.includes('up') && said.resolve() },
    );
    await said.promise;
    stop.abort('user pressed Esc');
    await assert.rejects(cancelled);
    const [newest] = (await call('list_operations', { limit: 1 })).structured.operations as { uuid: string }[];
    const startedMs = performance.now();
    const { results } = (await call('wait_operations', { operation_ids: [newest?.uuid] })).structured;
    assert.equal(results[newest?.uuid ?? ''].status, 'CANCELLED');
    assert.ok(performance.now() - startedMs < 10_000, 'nothing waited for the command to end');
    await client.close();
  },
);
