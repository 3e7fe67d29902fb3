import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMcpHttp } from '../../src/mcp/http.ts';

function call(env: string): Request {
  const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run","arguments":{"command":"x","env":${env}}}}`;
  return new Request('http://localhost/mcp', {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream' },
  });
}

test('a tool call of 280,000 variables is refused before it is parsed', async () => {
  const connect = async () => Promise.reject(new Error('nobody is connected'));
  await using mcp = createMcpHttp(connect, { version: '1.2.3', allowedHosts: 'any' });
  const env = `{${Array.from({ length: 280_000 }, (_, at) => `"KEY${at}":"x"`).join(',')}}`;
  const { status, headers } = await mcp.fetch(call(env));
  assert.deepEqual([status, headers.get('content-type')], [413, 'application/json']);
  const { status: long } = await mcp.fetch(call(JSON.stringify('x'.repeat(17_000_000))));
  assert.equal(long, 413);
});
