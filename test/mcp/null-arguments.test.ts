import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { createMcpHttp } from '../../src/mcp/http.ts';
import { withoutNullArguments } from '../../src/mcp/null-arguments.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

const SERVER = join(import.meta.dirname, '../support/mcp/stdio-server.ts');
const CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_guide","arguments":null}}';

test('only null as all arguments of a request is left out', () => {
  assert.equal(withoutNullArguments(CALL), CALL.replace(',"arguments":null', ''));
  for (const text of [
    '{"params":{"name":"x","arguments":{"arguments":null}}}',
    JSON.stringify({ params: { name: 'x', arguments: { content: '"arguments":null' } } }),
    'not JSON "arguments":null',
    '[null,{"arguments":null}]',
  ]) {
    assert.equal(withoutNullArguments(text), text);
  }
});

test('over stdio arguments that are null are none', async (t) => {
  const child = spawn(process.execPath, [SERVER], { stdio: ['pipe', 'pipe', 'ignore'] });
  t.after(() => child.kill());
  child.stdin.write(
    '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"raw","version":"0"}}}\n',
  );
  await once(child.stdout, 'data');
  child.stdin.write(`${CALL}\n`);
  const [answer] = (await once(child.stdout, 'data')) as [Buffer];
  assert.match(answer.toString(), /"result":.*# Workflow/u);
  child.stdin.end();
});

test('over HTTP arguments that are null are none', async () => {
  await using mcp = createMcpHttp(() => Promise.resolve(new ScriptedContree()), { version: '0', allowedHosts: 'any' });
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  const answer = await mcp.fetch(new Request('http://localhost/mcp', { method: 'POST', headers, body: CALL }));
  assert.match(await answer.text(), /"result":.*# Workflow/u);
});
