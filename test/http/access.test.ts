import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { ANYONE } from '../../src/http/auth.ts';
import { PERMISSIONS } from '../../src/contract/permissions.ts';
import { checkOrigin, isLoopback } from '../../src/http/guard.ts';
import { FileTokenStore } from '../../src/http/tokens.ts';
import { startServer, type TestServer } from '../support/servers/http-server.ts';

async function guarded(): Promise<TestServer & { tokens: FileTokenStore }> {
  const lazy: { store?: FileTokenStore } = {};
  const verifier = { verify: async (token: string) => lazy.store?.verify(token) };
  const server = await startServer({ authentication: { kind: 'token', verifier } });
  const tokens = new FileTokenStore(join(server.folder, 'tokens.json'));
  lazy.store = tokens;
  return Object.assign(server, { tokens });
}

function bearer(token: string): { headers: Record<string, string> } {
  return { headers: { Authorization: `Bearer ${token}`, Project: 'ignored' } };
}

test('without a token 401, with a wrong or expired one 403, with a good one the answer', async (t) => {
  await using server = await guarded();
  const { token, uuid } = await server.tokens.create({ name: 'ci', expires_in: 60 });
  const missing = await server.send('GET', '/v1/images');
  assert.deepEqual([missing.status, missing.headers['www-authenticate']], [401, 'Bearer']);
  assert.equal(
    (await server.send('GET', `/v1/images?token=${token}`)).status,
    401,
    'a token in the query is not accepted',
  );
  for (const wrong of ['fake-token', `${token}x`, token.slice(0, -1), token.toUpperCase()]) {
    assert.equal((await server.send('GET', '/v1/images', bearer(wrong))).status, 403, wrong);
  }
  assert.equal((await server.send('GET', '/v1/images', { headers: { Authorization: `Basic ${token}` } })).status, 401);
  assert.equal((await server.send('GET', '/v1/images', bearer(token))).status, 200);
  const principal = await server.tokens.verify(token);
  assert.equal(principal?.token, uuid);
  assert.ok(Number.isInteger(principal?.expiresAt));
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 61_000 });
  assert.equal(await server.tokens.verify(token), undefined);
});

test('what is open without a token tells nothing but that the server lives and its API', async () => {
  await using server = await guarded();
  for (const path of ['/healthz', '/readyz', '/v1/openapi.json', '/v1/openapi.yaml']) {
    assert.equal((await server.send('GET', path)).status, 200, path);
  }
  for (const path of ['/metrics', '/v1/whoami', '/v1/engine', '/v1/tokens', '/v1/nope']) {
    assert.equal((await server.send('GET', path)).status, 401, path);
  }
});

test('each operation asks for its permission', async () => {
  await using server = await guarded();
  const image = server.contree.addImage({}, 'a');
  const doomed = server.contree.addImage({}, 'doomed');
  const op = (await server.contree.runs.start({ command: 'sleep', image })).uuid;
  const calls: Readonly<Record<string, readonly (readonly [string, string, object?])[]>> = {
    list: [
      ['GET', '/v1/images'],
      ['GET', `/v1/inspect/${image}/list?path=/`],
    ],
    spawn: [['POST', '/v1/instances', { command: 'true', image }]],
    import: [['POST', '/v1/images/import', { registry: { url: 'alpine' } }]],
    upload: [['POST', '/v1/files', {}]],
    set_image_tag: [
      ['PATCH', `/v1/images/${image}/tag`, { tag: 'b' }],
      ['DELETE', `/v1/images/${image}/tag?tag=b`],
    ],
    delete: [['DELETE', `/v1/images/${doomed}`]],
    cancel: [['DELETE', `/v1/operations/${op}`]],
    admin: [
      ['POST', '/v1/engine/stop', {}],
      ['POST', '/v1/gc', {}],
    ],
  };
  for (const [permission, list] of Object.entries(calls)) {
    const others = PERMISSIONS.filter((other) => other !== permission);
    const { token } = await server.tokens.create({ permissions: others });
    const { token: able } = await server.tokens.create({
      permissions: PERMISSIONS.filter((one) => one === permission),
    });
    for (const [method, path, body] of list) {
      const extra = body === undefined ? {} : { body };
      const refused = await server.send(method, path, { ...bearer(token), ...extra });
      assert.deepEqual([refused.status, (refused.json as { code: string }).code], [403, 'PERMISSION_MISSING'], path);
      assert.match((refused.json as { error: string }).error, new RegExp(`"${permission}"`, 'u'));
      const { status } = await server.send(method, path, { ...bearer(able), ...extra });
      assert.notEqual(status, 403, path);
    }
  }
});

test('spawn_disposable is enough for a disposable run and for no other', async () => {
  await using server = await guarded();
  const image = server.contree.addImage();
  const { token } = await server.tokens.create({ permissions: ['spawn_disposable'] });
  const run = async (disposable: boolean): Promise<number> => {
    const body = { command: 'true', image, disposable };
    return (await server.send('POST', '/v1/instances', { ...bearer(token), body })).status;
  };
  assert.deepEqual([await run(true), await run(false)], [201, 403]);
});

test('tokens are kept as hashes in a private file, listed without their secret, and can be revoked', async () => {
  await using server = await guarded();
  const { token, uuid } = await server.tokens.create({ name: 'one' });
  const path = join(server.folder, 'tokens.json');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.ok(!readFileSync(path, 'utf8').includes(token));
  const [listed] = await server.tokens.list();
  assert.deepEqual([listed?.uuid, listed?.name, Object.keys(listed ?? {}).includes('hash')], [uuid, 'one', false]);
  assert.ok(!listed?.permissions.includes('admin'));
  const other = new FileTokenStore(path);
  assert.equal((await other.verify(token))?.token, uuid);
  assert.equal(await server.tokens.revoke(uuid), true);
  assert.equal(await other.verify(token), undefined, 'another process sees the change');
  assert.equal(await server.tokens.revoke(uuid), false);
});

test('tokens made at the same time are all kept', async () => {
  await using server = await guarded();
  const made = await Promise.all(Array.from({ length: 20 }, () => server.tokens.create({})));
  assert.equal((await server.tokens.list()).length, 20);
  assert.ok(await server.tokens.verify(made[7]?.token ?? ''));
});

test('the token routes are for administrators, and a process without tokens has none', async () => {
  await using server = await startServer();
  assert.equal((await server.send('GET', '/v1/tokens')).status, 404);
  await using open = await startServer({ authentication: { kind: 'fixed', principal: ANYONE } });
  assert.equal((await open.send('POST', '/v1/tokens', { body: {} })).status, 403);
});

function refused(headers: Record<string, string>, names: string[] = [], anyHost = false, scheme = 'http'): boolean {
  try {
    // `Request` would refuse such headers.
    checkOrigin({ url: `${scheme}://x/`, headers: new Headers(headers) } as Request, { names, anyHost });
    return false;
  } catch (error) {
    return isFault(error, 'ORIGIN_DENIED');
  }
}

test('Host: loopback names pass, everything else is refused', () => {
  for (const host of ['localhost', 'localhost:9452', '127.0.0.1:1', '[::1]:9452', 'LOCALHOST:80']) {
    assert.equal(refused({ host }), false, host);
  }
  const foreign = ['evil.com', 'evil.com:9452', 'localhost.', 'localhost.evil.com', '127.0.0.1.nip.io', '127.1', ''];
  const crooked = [
    'localhost:9452@evil.com',
    'localhost:',
    '0.0.0.0:9452',
    '[::ffff:127.0.0.1]',
    'localhost:123456',
    'a b',
  ];
  for (const host of [...foreign, ...crooked]) assert.equal(refused({ host }), true, host);
  assert.equal(refused({}), true, 'a missing Host');
  assert.equal(refused({ host: 'box.example:9452' }, ['box.example']), false);
  assert.equal(refused({ host: 'any.example' }, [], true), false);
});

test('Origin: only the page that the server itself served', () => {
  const host = 'localhost:9452';
  assert.equal(refused({ host, origin: 'http://localhost:9452' }), false);
  for (const origin of ['http://evil.com', 'null', 'http://localhost:3000', 'http://127.0.0.1:9452', 'file://', '']) {
    assert.equal(refused({ host, origin }), true, origin);
  }
  assert.equal(refused({ host: 'any.example', origin: 'https://evil.com' }, [], true), true);
});

test('Origin: an allowed name is allowed with the scheme and port that it is served with, no other', () => {
  const names = ['ui.example', 'https://proxied.example'];
  const from = (origin: string, host: string, scheme = 'http') => refused({ host, origin }, names, false, scheme);
  assert.equal(from('http://ui.example:9452', 'ui.example:9452'), false);
  assert.equal(from('https://ui.example', 'ui.example', 'https'), false);
  for (const origin of [
    'http://ui.example:8080',
    'http://ui.example',
    'https://ui.example:9452',
    'https://ui.example',
  ]) {
    assert.equal(from(origin, 'ui.example:9452'), true, origin);
    assert.equal(from(origin, 'localhost:9452'), true, `${origin}, from another name`);
  }
  assert.equal(from('http://ui.example', 'ui.example', 'https'), true, 'who changes a page on its way');
  // Behind a proxy that terminates TLS, with any Host header.
  assert.equal(from('https://proxied.example', 'proxied.example'), false);
  assert.equal(from('https://proxied.example', '127.0.0.1:9452'), false);
  assert.equal(from('http://proxied.example', '127.0.0.1:9452'), true);
  assert.equal(from('https://proxied.example:8443', '127.0.0.1:9452'), true);
});

test('a rebound page is refused on the wire before anything else is looked at', async () => {
  await using server = await startServer({ origin: { names: [], anyHost: false } });
  const evil = await server.send('GET', '/v1/images', { headers: { Host: 'evil.com' } });
  assert.deepEqual([evil.status, (evil.json as { code: string }).code], [403, 'ORIGIN_DENIED']);
  const posted = await server.send('POST', '/v1/gc', { headers: { Origin: 'http://evil.com' }, body: {} });
  assert.equal(posted.status, 403);
  assert.equal((await server.send('GET', '/', { headers: { Host: 'evil.com' } })).status, 403);
  assert.equal((await server.send('GET', '/v1/images', { setHost: false })).status, 400, 'a missing Host');
  assert.equal((await server.send('GET', '/v1/images')).status, 200);
});

test('isLoopback knows which addresses stay on this machine', () => {
  assert.ok(['127.0.0.1', '127.3.2.1', '::1', 'localhost'].every(isLoopback));
  assert.ok(!['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.evil.com', '1127.0.0.1'].some(isLoopback));
});
