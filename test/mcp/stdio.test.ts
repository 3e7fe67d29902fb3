import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { answerOf, ERAS } from '../support/mcp/client.ts';

const SERVER = join(import.meta.dirname, '../support/mcp/stdio-server.ts');

function start(...flags: string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [SERVER, ...flags]);
}

function send(child: ChildProcessWithoutNullStreams, message: unknown): void {
  child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...(message as object) })}\n`);
}

const INITIALIZE = {
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'raw', version: '0' } },
};

for (const era of ERAS) {
  test(`${era}: a client reaches the tools over a process's streams`, async () => {
    const client = new Client(
      { name: 'test', version: '0' },
      { versionNegotiation: { mode: era === 'modern' ? 'auto' : 'legacy' } },
    );
    await client.connect(new StdioClientTransport({ command: process.execPath, args: [SERVER], stderr: 'pipe' }));
    const answer = answerOf(
      await client.callTool({ name: 'read_file', arguments: { image: 'tag:common/base', path: '/etc/os-release' } }),
    );
    assert.equal(answer.structured.content, 'ID=scripted\n');
    await client.close();
  });
}

test('every line of standard output is a protocol message, whatever comes in', async () => {
  const child = start();
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  child.stdin.write('not json\n\n{"jsonrpc":"2.0"}\n[1,2]\n');
  send(child, INITIALIZE);
  send(child, { method: 'notifications/initialized' });
  send(child, {
    id: 1,
    method: 'tools/call',
    params: { name: 'run', arguments: { command: 'echo hi', image: 'tag:common/base' } },
  });
  send(child, { id: 2, method: 'no/such/method' });
  while (lines.length < 3) await once(child.stdout, 'data');
  child.stdin.end();
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 0);
  const messages = lines.map((line) => JSON.parse(line) as { jsonrpc: string; id?: number; error?: { code: number } });
  assert.ok(messages.every(({ jsonrpc }) => jsonrpc === '2.0'));
  assert.deepEqual(messages.map(({ id }) => `${id}`).toSorted(), ['0', '1', '2']);
  assert.equal(messages.find(({ id }) => id === 2)?.error?.code, -32601);
});

for (const flags of [[], ['--hang']]) {
  test(`the process is gone two seconds after its input ended, in the middle of a call ${flags.join(' ')}`, async () => {
    const child = start(...flags);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    send(child, INITIALIZE);
    await once(child.stdout, 'data');
    const params = {
      name: 'run',
      arguments: { command: 'work', image: 'tag:common/base' },
      _meta: { progressToken: 1 },
    };
    send(child, { id: 1, method: 'tools/call', params });
    // The first progress message: the operation is running.
    await once(child.stdout, 'data');
    child.stdin.end();
    // The operation runs forever, so a server that waited for it would never exit.
    const [code] = (await once(child, 'exit')) as [number];
    assert.equal(code, 0);
    assert.match(stderr, /operation [0-9a-f-]{36} goes on/u);
  });
}

test('a start takes little time and an idle server is small, as an installed one: with compiled code cached', async () => {
  const cache = mkdtempSync(join(tmpdir(), 'contree-cache-'));
  try {
    const samples: { cpuMs: number; bytes: number }[] = [];
    for (let round = 0; round < 4; round++) {
      const child = spawn(process.execPath, ['--max-semi-space-size=1', SERVER, '--memory'], {
        env: { ...process.env, NODE_COMPILE_CACHE: cache },
      });
      let stderr = '';
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      send(child, INITIALIZE);
      await once(child.stdout, 'data');
      send(child, { id: 1, method: 'tools/list' });
      await once(child.stdout, 'data');
      child.stdin.end();
      await once(child, 'close');
      samples.push({
        cpuMs: Number(/cpu (\d+) ms/u.exec(stderr)?.[1]),
        bytes: Number(/rss (\d+)/u.exec(stderr)?.[1]),
      });
    }
    // The first round fills the cache. CPU time, because elapsed time depends on what else the machine does; `npm run
    // bench -- servers` measures the latter.
    const best = Math.min(...samples.slice(1).map(({ cpuMs }) => cpuMs));
    assert.ok(best < 1_500, `${best} ms`);
    const bytes = Math.min(...samples.slice(1).map((sample) => sample.bytes));
    assert.ok(bytes < 90 * 1024 * 1024, `${bytes} bytes`);
  } finally {
    rmSync(cache, { recursive: true });
  }
});
