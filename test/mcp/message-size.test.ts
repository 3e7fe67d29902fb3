import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { limits } from '../../src/contract/limits.ts';
import { OWNER } from '../../src/http/auth.ts';
import { mcpMount } from '../../src/app/mcp-mount.ts';
import { messageLines } from '../../src/mcp/message-lines.ts';
import { answerOf, ERAS } from '../support/mcp/client.ts';
import { startServer } from '../support/servers/http-server.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

const SERVER = join(import.meta.dirname, '../support/mcp/stdio-server.ts');

/** The lines of a text that arrives in pieces of a few bytes, and the ids of those that were too long. */
async function split(text: string, bytesMax: number, pieceBytes: number): Promise<{ lines: string[]; ids: unknown[] }> {
  const ids: unknown[] = [];
  const bytes = Buffer.from(text);
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, index) =>
    bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
  async function* source(): AsyncGenerator<Buffer> {
    yield* pieces;
  }
  const lines: string[] = [];
  for await (const line of messageLines(source(), bytesMax, (id) => ids.push(id))) lines.push(line.toString());
  return { lines, ids };
}

test('a line that is too long is dropped with the id of its request, and the lines around it arrive', async () => {
  const long = 'x'.repeat(5_000);
  const requests = [
    { jsonrpc: '2.0', id: 7, method: 'tools/call', params: { content: long } },
    { method: 'tools/call', params: { content: long, id: 9 }, jsonrpc: '2.0', id: 'last' },
    // Members of nested objects are not the id of the request.
    { method: 'tools/call', params: { content: long, arguments: { a: 1, id: 9 } } },
    { params: { id: 9, content: long }, jsonrpc: '2.0', method: 'notifications/x' },
  ];
  const text = ['before', ...requests.map((request) => JSON.stringify(request)), 'after', ''].join('\n');
  for (const pieceBytes of [7, 1_000, 100_000]) {
    const { lines, ids } = await split(text, 4_000, pieceBytes);
    assert.deepEqual(lines, ['before\n', 'after\n']);
    assert.deepEqual(ids, [7, 'last', undefined, undefined]);
  }
  assert.deepEqual((await split('x\nunfinished', 100, 3)).lines, ['x\n']);
});

test('over stdio a message beyond the limit is refused, and the calls around it are answered', async (t) => {
  const child = spawn(process.execPath, [SERVER], { stdio: ['pipe', 'pipe', 'ignore'] });
  t.after(() => child.kill());
  const answers = new Map<unknown, { error?: { message: string }; result?: unknown }>();
  const all = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = JSON.parse(line) as { id: unknown; result?: unknown };
    answers.set(message.id, message);
    if (answers.size === 4) all.resolve();
  });
  const send = (message: object): void => void child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  const call = (id: number, name: string, args: object): void =>
    send({ id, method: 'tools/call', params: { name, arguments: args } });
  send({
    id: 0,
    method: 'initialize',
    params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'raw', version: '0' } },
  });
  const image = 'tag:common/base';
  call(1, 'upload', { content: 'a'.repeat(limits.mcpBodyBytesMax) });
  call(2, 'run', { command: 'cat', image, stdin: 'b'.repeat(limits.stdinBytesMax) });
  call(3, 'read_file', { image, path: '/etc/os-release' });
  await all.promise;
  child.stdin.end();
  assert.match(answers.get(1)?.error?.message ?? '', /^BODY_TOO_LARGE: .*\nSend large contents as an uploaded file/u);
  assert.match(JSON.stringify(answers.get(2)?.result), /"stdout_bytes":8388608/u);
  assert.match(JSON.stringify(answers.get(3)?.result), /ID=scripted/u);
});

for (const era of ERAS) {
  test(`${era} over HTTP: standard input of the documented size fits, and after more the connection is usable`, async () => {
    const contree = new ScriptedContree();
    const image = contree.addImage({}, 'base');
    await using mount = mcpMount({ version: '0', log: () => undefined });
    const authentication = { kind: 'fixed' as const, principal: OWNER };
    await using server = await startServer({ contree, mounts: [mount], authentication });
    const client = new Client(
      { name: 'test', version: '0' },
      { versionNegotiation: { mode: era === 'modern' ? 'auto' : 'legacy' } },
    );
    await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', server.address)));
    const call = async (name: string, args: Record<string, unknown>) =>
      answerOf(await client.callTool({ name, arguments: args }));
    const stdin = 'b'.repeat(limits.stdinBytesMax);
    assert.equal((await call('run', { command: 'cat', image, stdin })).structured.stdout_bytes, stdin.length);
    for (let round = 0; round < 3; round += 1) {
      await assert.rejects(call('upload', { content: 'a'.repeat(limits.mcpBodyBytesMax) }), /16777216 bytes|413/u);
      assert.equal((await call('list_images', {})).isError, false);
    }
    await client.close();
  });
}
