import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { Client, StreamableHTTPClientTransport, type Progress } from '@modelcontextprotocol/client';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHttp, type McpHttpOptions } from '../../src/mcp/http.ts';
import { answerOf, ERAS, type Era } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';
import { until } from '../support/time/until.ts';

interface Served extends AsyncDisposable {
  readonly url: string;
  connect(era: Era): Promise<Client>;
}

async function serve(contree: ScriptedContree, options: Partial<McpHttpOptions> = {}): Promise<Served> {
  const mcp = createMcpHttp(() => Promise.resolve(contree), { version: '0', log: () => {}, ...options });
  const handler = toNodeHandler(mcp);
  const server = createServer((request, response) => void handler(request as never, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  const clients: Client[] = [];
  return {
    url,
    connect: async (era) => {
      const client = new Client(
        { name: 'test', version: '0' },
        { versionNegotiation: { mode: era === 'modern' ? 'auto' : 'legacy' } },
      );
      await client.connect(new StreamableHTTPClientTransport(new URL(url)));
      clients.push(client);
      return client;
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) await client.close();
      await mcp[Symbol.asyncDispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const work = () => new ScriptedContree({ work: ({ out, signalled }) => (out('working\n'), signalled.then(() => -1)) });

for (const era of ERAS) {
  test(`${era} over HTTP: tools, resources and progress`, async () => {
    const contree = new ScriptedContree();
    const image = contree.addImage({ '/f': 'text' });
    await using served = await serve(contree);
    const client = await served.connect(era);
    const offered = (await client.listTools()).tools.map(({ name }) => name);
    assert.deepEqual(
      ['run', 'open_instance', 'rsync', 'download'].filter((name) => offered.includes(name)),
      ['run', 'open_instance'],
      'without allowed folders no rsync and download',
    );
    const steps: Progress[] = [];
    const result = await client.callTool(
      { name: 'run', arguments: { command: 'echo hi', image } },
      { onprogress: (step) => steps.push(step) },
    );
    assert.equal(answerOf(result).structured.stdout, 'hi\n');
    assert.match(steps[0]?.message ?? '', /^PENDING · operation /u);
    const { contents } = await client.readResource({ uri: `contree://image/${image}/read/f` });
    assert.deepEqual(
      contents.map((content) => 'text' in content && content.text),
      ['text'],
    );
  });

  test(`${era} over HTTP: a closed stream ${era === 'modern' ? 'stops' : 'leaves'} the operation`, async () => {
    const contree = work();
    const image = contree.addImage();
    await using served = await serve(contree);
    const client = await served.connect(era);
    const abort = new AbortController();
    const started = Promise.withResolvers<void>();
    const call = client.callTool(
      { name: 'run', arguments: { command: 'work', image } },
      { signal: abort.signal, onprogress: () => started.resolve() },
    );
    await started.promise;
    abort.abort();
    await assert.rejects(call);
    if (era === 'modern') await until(async () => (await contree.operations.list({}))[0]?.status === 'CANCELLED');
    else assert.equal((await contree.operations.list({}))[0]?.status, 'EXECUTING');
  });
}

test('modern over HTTP: with detach a closed stream leaves the operation', async () => {
  const contree = work();
  const image = contree.addImage();
  const logged: string[] = [];
  await using served = await serve(contree, { onDisconnect: 'detach', log: (line) => logged.push(line) });
  const client = await served.connect('modern');
  const abort = new AbortController();
  const started = Promise.withResolvers<void>();
  const call = client.callTool(
    { name: 'run', arguments: { command: 'work', image } },
    { signal: abort.signal, onprogress: () => started.resolve() },
  );
  await started.promise;
  abort.abort();
  await assert.rejects(call);
  await until(() => Promise.resolve(logged.some((line) => line.includes('goes on'))));
  assert.equal((await contree.operations.list({}))[0]?.status, 'EXECUTING');
});

test('requests that a web page could make are refused', async () => {
  await using served = await serve(new ScriptedContree(), { allowedHosts: ['contree.example.org'] });
  const post = async (headers: Record<string, string>, body = '{}', method = 'POST'): Promise<number> => {
    const { request } = await import('node:http');
    return await new Promise((resolve, reject) => {
      const outgoing = request(served.url, {
        method,
        headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
      });
      outgoing.on('response', (response) => (response.resume(), resolve(response.statusCode ?? 0)));
      outgoing.on('error', reject);
      outgoing.end(method === 'POST' ? body : undefined);
    });
  };
  const ping = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
  assert.equal(await post({}, ping), 200);
  assert.equal(await post({ host: 'evil.example' }, ping), 403);
  assert.equal(await post({ origin: 'http://evil.example' }, ping), 403);
  assert.equal(await post({ origin: 'http://localhost:1234' }, ping), 200);
  assert.equal(await post({ host: 'contree.example.org', origin: 'https://contree.example.org' }, ping), 200);
  assert.equal(await post({}, '', 'GET'), 405);
  assert.equal(await post({ 'content-type': 'text/plain' }, ping), 415);
  assert.equal(await post({}, 'not json'), 400);
  assert.equal(await post({}, `"${'x'.repeat(17 * 1024 * 1024)}"`), 413);
});

test('each request is connected as itself', async () => {
  const [ann, bob] = [new ScriptedContree(), new ScriptedContree()];
  ann.addImage({}, 'of-ann');
  const mcp = createMcpHttp(
    (request) => Promise.resolve(request?.headers.get('authorization') === 'Bearer ann' ? ann : bob),
    { version: '0', log: () => {} },
  );
  const call = async (token: string): Promise<string> => {
    const response = await mcp.fetch(
      new Request('http://localhost/mcp', {
        method: 'POST',
        headers: {
          host: 'localhost',
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          authorization: `Bearer ${token}`,
        },
        body: JSON.stringify({
          jsonrpc: '2.0',
          id: 1,
          method: 'tools/call',
          params: { name: 'list_images', arguments: {} },
        }),
      }),
    );
    return await response.text();
  };
  assert.match(await call('ann'), /of-ann/u);
  assert.doesNotMatch(await call('bob'), /of-ann/u);
  await mcp[Symbol.asyncDispose]();
  assert.equal(ann.disposed, false, 'what was connected for a request is not ours to close');
});
