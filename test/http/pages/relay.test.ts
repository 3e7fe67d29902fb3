import assert from 'node:assert/strict';
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { opened } from '../../conformance/instances.ts';
import { openPage, RAW, WEB, type Page } from '../../support/servers/page-bench.ts';
import { until } from '../../support/time/until.ts';

/** Answers with the request as the guest saw it. */
function mirror(request: IncomingMessage, response: ServerResponse): void {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    const { method, url, headers } = request;
    response.setHeader('Set-Cookie', ['mine=1; Domain=localhost; Path=/', 'contree-page=stolen; Path=/']);
    response.setHeader('Keep-Alive', 'timeout=99');
    response.end(JSON.stringify({ method, url, headers, body: Buffer.concat(parts).toString() }));
  });
}

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

const bearer = ({ client }: Page): { readonly authorization: string } => ({ authorization: `Bearer ${client.token}` });

/** Signs a browser in, and returns the Cookie header that it sends from then on. */
async function signedIn(page: Page, port = WEB): Promise<{ readonly cookie: string; readonly path: string }> {
  const { status, json } = await page.client.send('POST', `/v1/instances/${page.uuid}/ports/${port}/link`);
  assert.equal(status, 201);
  const url = new URL((json as { url: string }).url);
  assert.equal(url.host, page.host(port));
  const path = `${url.pathname}${url.search}`;
  const entered = await page.ask({ path, host: url.host });
  assert.deepEqual([entered.status, entered.headers.location], [303, '/']);
  const [set = ''] = entered.headers['set-cookie'] ?? [];
  assert.match(
    set,
    /^contree-page=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax$/u,
    'host-only, and out of reach of scripts',
  );
  return { cookie: set.split(';', 1)[0] ?? '', path };
}

test('a request reaches the guest whole, without what belongs to the server, and so does the answer', async () => {
  await using page = await openPage(mirror);
  const { cookie } = await signedIn(page);
  for (const own of [{ cookie: `a=1; ${cookie}; b=2` }, { cookie: 'a=1; b=2', ...bearer(page) }]) {
    const headers = { ...own, 'x-mine': 'yes', connection: 'close, x-drop', 'x-drop': '1', te: 'trailers' };
    const answer = await page.ask({ method: 'POST', path: '/a%2Fb?c=d&e', headers, body: 'question' });
    const seen = JSON.parse(answer.text) as Seen;
    assert.deepEqual([answer.status, seen.method, seen.url, seen.body], [200, 'POST', '/a%2Fb?c=d&e', 'question']);
    assert.deepEqual([seen.headers['cookie'], seen.headers['x-mine']], ['a=1; b=2', 'yes']);
    assert.deepEqual(
      [seen.headers['authorization'], seen.headers['x-drop'], seen.headers['te']],
      [undefined, undefined, undefined],
    );
    assert.deepEqual([seen.headers['host'], seen.headers['x-forwarded-proto']], [page.host(), 'http']);
    assert.ok(!JSON.stringify(seen).includes(page.client.token) && !JSON.stringify(seen).includes('contree-page'));
    assert.deepEqual(answer.headers['set-cookie'], ['mine=1; Path=/'], 'a guest sets cookies of its own host only');
    assert.notEqual(answer.headers['keep-alive'], 'timeout=99');
  }
  const app = await page.ask({ headers: { cookie, authorization: 'Basic YTpi' } });
  assert.equal(
    (JSON.parse(app.text) as Seen).headers['authorization'],
    'Basic YTpi',
    'the program has logins of its own',
  );
});

test('a link signs in one browser, once, to one port of one instance, for as long as its token is valid', async () => {
  await using page = await openPage(mirror, (stream) => stream.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  const anonymous = await page.ask();
  assert.equal(anonymous.status, 401);
  assert.match(anonymous.text, /not signed in[\s\S]*link/u);
  const { cookie, path } = await signedIn(page);
  assert.equal((await page.ask({ headers: { cookie } })).status, 200);
  assert.equal((await page.ask({ path })).status, 403, 'the link works once');
  assert.equal((await page.ask({ headers: { cookie }, host: page.host(RAW) })).status, 401, 'another port');
  const other = await opened(page.served.bench.engine, { image: page.served.bench.base.uuid });
  const elsewhere = `${WEB}-${other}.localhost:${page.listener}`;
  assert.equal((await page.ask({ headers: { cookie }, host: elsewhere })).status, 401, 'another instance');
  assert.equal((await page.ask({ headers: { cookie: 'contree-page=guess' } })).status, 401);
  await page.served.owner.send('DELETE', `/v1/tokens/${page.client.uuid}`);
  assert.equal((await page.ask({ headers: { cookie } })).status, 401, 'the token was revoked');
});

test('what cannot be reached is said in a line, with what to do', async () => {
  await using page = await openPage(mirror, (stream) => void stream.end('SSH-2.0-nope\r\n'));
  const nothing = await page.ask({ host: page.host(9_999), headers: bearer(page) });
  assert.equal(nothing.status, 502);
  assert.match(nothing.text, /^port 9999 of the instance: nothing listens on it\nStart a server/u);
  assert.match(nothing.headers['content-security-policy']?.toString() ?? '', /default-src 'none'/u);
  const garbage = await page.ask({ host: page.host(RAW), headers: bearer(page) });
  assert.deepEqual(
    [garbage.status, garbage.text.split('\n')[0]],
    [502, 'port 8001 of the instance: its answer is not HTTP'],
  );
  const stranger = await page.served.client({ project: 'other' });
  const foreign = await page.ask({ headers: { authorization: `Bearer ${stranger.token}` } });
  assert.equal(foreign.status, 404, "another project's instance does not exist");
  const reader = await page.served.client({ permissions: ['list', 'spawn_disposable'] });
  assert.equal((await page.ask({ headers: { authorization: `Bearer ${reader.token}` } })).status, 403);
  await page.served.bench.engine.instances.close(page.uuid);
  await Array.fromAsync(page.served.bench.engine.operations.events(page.uuid, { follow: true }));
  assert.equal((await page.ask({ headers: bearer(page) })).status, 409);
});

test('the origin of a page reaches neither API nor console, and no other name reaches a page', async () => {
  await using page = await openPage(mirror);
  for (const path of ['/v1/images', '/healthz', '/v1/openapi.json', '/metrics', '/mcp', '//x/v1/images']) {
    const { text } = await page.ask({ path, headers: bearer(page) });
    assert.equal((JSON.parse(text) as Seen).url, path, 'the guest answers');
  }
  const label = `${WEB}-${page.uuid}`;
  for (const host of [
    `${label}.evil.example`,
    `${label}.localhost.evil.example:${page.listener}`,
    `${label}.`,
    `${label}.localhost.`,
  ]) {
    assert.equal((await page.ask({ host, headers: bearer(page) })).status, 403, host);
  }
  for (const host of [
    `0-${page.uuid}.localhost`,
    `99999-${page.uuid}.localhost`,
    `${label}x.localhost`,
    `x${label}.localhost`,
  ]) {
    assert.equal((await page.ask({ host, headers: bearer(page) })).status, 403, host);
  }
  assert.equal((await page.ask({ host: page.host().toUpperCase(), headers: bearer(page) })).status, 200);
  const absolute = `GET http://localhost:${page.listener}/v1/images HTTP/1.1\r\nHost: ${page.host()}\r\nAuthorization: ${bearer(page).authorization}\r\nConnection: close\r\n\r\n`;
  assert.match(await page.raw(absolute), /^HTTP\/1\.1 400 /u);
  const api = await page.ask({
    path: '/v1/images',
    host: `localhost:${page.listener}`,
    headers: { ...bearer(page), origin: `http://${page.host()}` },
  });
  assert.equal(api.status, 403, 'a page of a guest may not use the API');
});

test('other sites may link to a page and do nothing else', async () => {
  await using page = await openPage(mirror);
  const { cookie } = await signedIn(page);
  const from = async (headers: Readonly<Record<string, string>>, method = 'GET'): Promise<number> =>
    (await page.ask({ method, headers: { cookie, ...headers } })).status;
  const cross = { 'sec-fetch-site': 'cross-site' };
  assert.equal(await from({ ...cross, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }), 200, 'a link');
  assert.equal(await from({ ...cross, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }), 403);
  assert.equal(await from({ ...cross, 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }), 403);
  assert.equal(await from({ 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors' }), 403, 'another instance');
  assert.equal(await from({ origin: `http://${RAW}-${page.uuid}.localhost:${page.listener}` }, 'POST'), 403);
  assert.equal(await from({ origin: 'null' }, 'POST'), 403);
  assert.equal(await from({ origin: `http://${page.host()}`, 'sec-fetch-site': 'same-origin' }, 'POST'), 200);
});

test('a WebSocket passes through for the page itself, and for nobody else', async () => {
  await using page = await openPage(mirror);
  const { cookie } = await signedIn(page);
  const key = 'dGhlIHNhbXBsZSBub25jZQ==';
  const handshake = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-key': key,
    'sec-websocket-version': '13',
  };
  const upgrade = (headers: Readonly<Record<string, string>>, host = page.host()) =>
    httpRequest({ port: page.listener, host: '127.0.0.1', headers: { host, ...handshake, ...headers }, agent: false });
  const refused = async (...asked: Parameters<typeof upgrade>): Promise<number> => {
    const [answer] = (await once(upgrade(...asked).end(), 'response')) as [IncomingMessage];
    return answer.resume().statusCode ?? 0;
  };
  assert.equal(await refused({}), 401);
  assert.equal(await refused({ cookie, origin: 'http://evil.example' }), 403);
  assert.equal(await refused({ cookie, upgrade: 'h2c' }), 400);
  assert.equal(await refused({ cookie: '', ...bearer(page) }, page.host(9_999)), 502);
  assert.equal(await refused({}, `localhost:${page.listener}`), 400, 'the API switches to nothing');
  const [answer, socket] = (await once(upgrade({ cookie, origin: `http://${page.host()}` }).end(), 'upgrade')) as [
    IncomingMessage,
    Duplex,
  ];
  assert.equal(answer.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  socket.write('over and back');
  assert.equal(String((await once(socket, 'data'))[0]), 'over and back');
  const ended = once(socket.resume(), 'end');
  socket.end();
  await ended;
});

test('a reader that stops makes the guest wait, and a client that leaves ends its connection', async () => {
  const state = { sent: 0, full: false, closed: false };
  await using page = await openPage((_request, response) => {
    const piece = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (state.sent < 256 * 1024 ** 2) {
        state.sent += piece.length;
        if (!response.write(piece)) break;
      }
      state.full = true;
    };
    response.on('drain', more).on('close', () => (state.closed = true));
    more();
  });
  const sent = httpRequest({
    port: page.listener,
    host: '127.0.0.1',
    headers: { host: page.host(), ...bearer(page) },
    agent: false,
  }).end();
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  await until(() => state.full);
  let before = -1;
  // The buffers in between fill up; then nothing moves any more.
  await until(() => {
    const still = before === state.sent;
    before = state.sent;
    return still;
  });
  assert.ok(state.sent < 128 * 1024 ** 2, `${state.sent} bytes were taken`);
  answer.destroy();
  await until(() => state.closed);
});
