import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type RequestListener } from 'node:http';
import type { Duplex } from 'node:stream';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { serveHttp } from '../../../src/app/mcp-http.ts';
import { readSettings } from '../../../src/config/index.ts';
import { PORT_TUNNEL, type InstanceDetails, type PortLink } from '../../../src/contract/instance.ts';
import { opened } from '../../conformance/instances.ts';
import { openPage, WEB, type Page } from '../../support/servers/page-bench.ts';

/* `contree-mcp --mode http`, a server of its own before the engine: pages of instances are there as at the engine's server. */

const hello: RequestListener = (request, response) => response.end(`hello from ${request.headers.host} ${request.url}`);

interface McpServer extends AsyncDisposable {
  readonly port: number;
  /** Token that it made; empty when it was given one. */
  readonly token: string;
}

async function serveMcp(page: Page, flags: Readonly<Record<string, string>> = {}): Promise<McpServer> {
  const { directory } = page.served.bench;
  const own = { mode: 'http', httpPort: '0', dataDir: directory, logLevel: 'critical', ...flags };
  const settings = readSettings({ program: 'contree-mcp', flags: own, env: { HOME: directory } });
  const stderr = new PassThrough({ encoding: 'utf8' });
  let said = '';
  stderr.on('data', (text: string) => (said += text));
  const stop = new AbortController();
  const host = {
    env: { HOME: directory },
    version: '1.2.3',
    self: ['false'] as const,
    cwd: directory,
    consoleDir: directory,
    stderr,
    stdout: new PassThrough(),
    onSignal: () => ({ [Symbol.dispose]: () => undefined }),
  };
  const served = serveHttp(host, settings, stop.signal);
  const last = flags['token'] === undefined ? /Bearer (ctr_[\w-]+)/u : /MCP at/u;
  await Promise.race([
    served,
    (async () => {
      while (!last.test(said)) await once(stderr, 'data');
    })(),
  ]);
  return {
    port: Number(/MCP at http:\/\/127\.0\.0\.1:(\d+)\//u.exec(said)?.[1]),
    token: /Bearer (ctr_[\w-]+)/u.exec(said)?.[1] ?? '',
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await served;
    },
  };
}

const bearer = (token: string): Readonly<Record<string, string>> => ({ authorization: `Bearer ${token}` });

test('pages are served to who has the token that it made, and a link signs a browser in', async () => {
  await using page = await openPage(hello);
  await using mcp = await serveMcp(page);
  const { port: listener, token } = mcp;
  const host = `${WEB}-${page.uuid}.localhost:${listener}`;
  assert.equal((await page.ask({ host, listener })).status, 401);
  assert.equal(
    (await page.ask({ host, listener, headers: bearer(page.client.token) })).status,
    401,
    'its own token only',
  );
  const answer = await page.ask({ host, listener, headers: bearer(token), path: '/x?y' });
  assert.deepEqual([answer.status, answer.text], [200, `hello from ${host} /x?y`]);
  const api = (method: string, path: string) =>
    page.ask({ method, path, host: `127.0.0.1:${listener}`, listener, headers: bearer(token) });
  await page.served.bench.engine.instances.publish(page.uuid, { port: WEB });
  const details = JSON.parse((await api('GET', `/v1/instances/${page.uuid}`)).text) as InstanceDetails;
  assert.equal(details.ports[0]?.url, `http://${host}/`, 'the address is that of this server');
  const link = JSON.parse((await api('POST', `/v1/instances/${page.uuid}/ports/${WEB}/link`)).text) as PortLink;
  const entrance = new URL(link.url);
  assert.equal(entrance.host, host);
  const entered = await page.ask({ host, listener, path: `${entrance.pathname}${entrance.search}` });
  const cookie = entered.headers['set-cookie']?.[0]?.split(';', 1)[0] ?? '';
  assert.equal((await page.ask({ host, listener, headers: { cookie } })).status, 200);
  const nothing = await page.ask({
    host: host.replace(`${WEB}-`, '9-'),
    listener,
    headers: { cookie, ...bearer(token) },
  });
  assert.deepEqual(
    [nothing.status, nothing.text.split('\n')[0]],
    [502, 'port 9 of the instance: nothing listens on it'],
  );
  const upgraded = httpRequest({
    port: listener,
    headers: {
      host,
      cookie,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-key': 'a',
      origin: `http://${host}`,
    },
  });
  upgraded.end();
  const [, socket] = (await once(upgraded, 'upgrade')) as [unknown, Duplex];
  socket.write('there and back');
  assert.equal(String((await once(socket, 'data'))[0]), 'there and back');
  socket.destroy();
  const large = 'x'.repeat(3_000_000);
  assert.equal((await page.ask({ method: 'POST', host, listener, headers: { cookie }, body: large })).status, 200);
});

test('with tokens of the engine, each reaches the instances of its project, as long as it is valid', async () => {
  await using page = await openPage(hello);
  await using mcp = await serveMcp(page, { token: 'a-token-of-this-server' });
  const { port: listener } = mcp;
  const host = `${WEB}-${page.uuid}.localhost:${listener}`;
  const status = async (token: string): Promise<number> =>
    (await page.ask({ host, listener, headers: bearer(token) })).status;
  assert.equal(await status('a-token-of-this-server'), 200);
  assert.equal(await status(page.client.token), 200);
  assert.equal(await status((await page.served.client({ project: 'other' })).token), 404);
  assert.equal(await status((await page.served.client({ permissions: ['list'] })).token), 403);
  await page.served.owner.send('DELETE', `/v1/tokens/${page.client.uuid}`);
  assert.equal(await status(page.client.token), 401);
});

test('connections to ports are made for the owner only, at his socket, and for clients with their permissions', async () => {
  await using page = await openPage(hello);
  const { socket: socketPath, bench } = page.served;
  const path = PORT_TUNNEL.pathOf(page.uuid, WEB);
  const asked = async (headers: Readonly<Record<string, string>>, where: object = { socketPath }, to = path) => {
    const sent = httpRequest({ ...where, path: to, headers });
    sent.end();
    return await new Promise<number>((resolve, reject) => {
      sent.on('upgrade', (answer, stream) => (stream.destroy(), resolve(answer.statusCode ?? 0)));
      sent.on('response', (answer) => (answer.resume(), resolve(answer.statusCode ?? 0)));
      sent.on('error', reject);
    });
  };
  const upgrade = { connection: 'Upgrade', upgrade: PORT_TUNNEL.protocol };
  assert.equal(await asked(upgrade), 101);
  assert.equal(await asked({}), 400);
  assert.equal(await asked({ ...upgrade, upgrade: 'websocket' }), 400);
  assert.equal(await asked({ ...upgrade, 'contree-on-behalf': 'anyone' }), 101);
  assert.equal(await asked({ ...upgrade, 'contree-on-behalf': 'nobody' }), 403);
  const stranger = await page.served.client({ project: 'other' });
  assert.equal(await asked({ ...upgrade, 'contree-on-behalf': stranger.uuid }), 404);
  assert.equal(await asked(upgrade, { socketPath }, PORT_TUNNEL.pathOf(page.uuid, 9)), 502);
  const over = { port: page.listener, host: '127.0.0.1' };
  const remote = { ...upgrade, authorization: `Bearer ${page.client.token}` };
  assert.equal(await asked(remote, over), 400, 'not over the network');
  const disposable = await opened(bench.engine, { image: bench.base.uuid, disposable: true });
  assert.equal(await asked(upgrade, { socketPath }, PORT_TUNNEL.pathOf(disposable, 9)), 502);
});
