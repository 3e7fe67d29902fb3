import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import type { CredentialSource } from '../../src/registry/auth/credentials.ts';
import { verifyCredentials } from '../../src/registry/auth/sign-in.ts';
import { FakeRegistry, status, wantsToken } from '../support/servers/registry.ts';
import { layerOf, openReference, read } from './support.ts';

const SECRET = 'hunter2-canary';
const BASIC = `Basic ${Buffer.from(`me:${SECRET}`).toString('base64')}`;
const credentials: CredentialSource = async () => ({ username: 'me', password: SECRET });
const LAYER = layerOf('x'.repeat(1000));
const signal = AbortSignal.timeout(20_000);

async function withImage(): Promise<FakeRegistry> {
  const registry = await FakeRegistry.start();
  registry.addImage([LAYER], { tag: '1' });
  return registry;
}

/** Answers token requests like a token service that gives everyone a token. */
function tokenService(registry: FakeRegistry, answer: unknown): void {
  registry.on(/ \/token/u, (_, response) => void response.end(JSON.stringify(answer)));
}

test('an anonymous token is fetched once and used for everything of its scope', async () => {
  await using registry = await withImage();
  tokenService(registry, { token: 'T', expires_in: 300 });
  registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
  await using opened = await openReference(`${registry.host}/team/app:1`);
  await read(opened.image.layers[0]!.open(signal));
  const tokenRequests = registry.seen.filter(({ url }) => url.startsWith('/token'));
  assert.deepEqual(
    tokenRequests.map(({ url, headers }) => [url, headers.authorization]),
    [['/token?service=fake&scope=repository%3Ateam%2Fapp%3Apull', undefined]],
  );
  assert.equal(registry.seen.filter(({ headers }) => headers.authorization === 'Bearer T').length, 3);
});

test('credentials go to the token service, and the token to the registry', async () => {
  await using registry = await withImage();
  await using service = await FakeRegistry.start();
  tokenService(service, { access_token: 'T' });
  registry.on(/ \/v2\//u, wantsToken(registry, 'T', `http://${service.host}/token`));
  await using opened = await openReference(`${registry.host}/team/app:1`, { credentials });
  assert.equal(opened.image.layers.length, 1);
  assert.deepEqual(
    service.seen.map(({ headers }) => headers.authorization),
    [BASIC],
  );
  assert.match(service.seen[0]?.url ?? '', /account=me/u);
  assert.ok(registry.seen.every(({ headers }) => headers.authorization !== BASIC));
});

test('an expired token is replaced', async () => {
  await using registry = await withImage();
  let token = 'first';
  registry.on(/ \/token/u, (_, response) => void response.end(JSON.stringify({ token })));
  registry.on(/ \/v2\//u, (request, response) => wantsToken(registry, token)(request, response));
  await using opened = await openReference(`${registry.host}/team/app:1`);
  token = 'second';
  assert.deepEqual(await read(opened.image.layers[0]!.open(signal)), LAYER.bytes);
});

test('an identity token is exchanged by POST', async () => {
  await using registry = await withImage();
  let form = '';
  registry.on(/POST \/token/u, (request, response) => {
    request.setEncoding('utf8').on('data', (text: string) => (form += text));
    request.on('end', () => response.end('{"access_token":"T"}'));
  });
  registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
  await using opened = await openReference(`${registry.host}/team/app:1`, {
    credentials: async () => ({ identityToken: SECRET }),
  });
  assert.equal(opened.image.layers.length, 1);
  assert.deepEqual(Object.fromEntries(new URLSearchParams(form)), {
    service: 'fake',
    scope: 'repository:team/app:pull',
    grant_type: 'refresh_token',
    client_id: 'contree',
    refresh_token: SECRET,
  });
});

test('Basic is answered where a registry asks for it', async () => {
  await using registry = await withImage();
  registry.on(/ \/v2\//u, (request, response) => {
    if (request.headers.authorization === BASIC) return registry.serve(request, response);
    return void response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
  });
  await using opened = await openReference(`${registry.host}/team/app:1`, { credentials });
  assert.equal(opened.image.layers.length, 1);
  assert.equal(registry.seen.filter(({ headers }) => headers.authorization === undefined).length, 1);
  await assert.rejects(openReference(`${registry.host}/team/app:1`), { code: 'REGISTRY_DENIED' });
});

test('refused credentials are a denial that does not repeat them', async () => {
  await using registry = await withImage();
  registry.on(/ \/token/u, status(401, {}, SECRET));
  registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
  await assert.rejects(openReference(`${registry.host}/team/app:1`, { credentials }), (error: Error) => {
    assert.equal((error as { code?: string }).code, 'REGISTRY_DENIED');
    assert.ok(!`${error.stack}${JSON.stringify(error)}`.includes(SECRET));
    return true;
  });
});

test('a token that the registry does not accept is a denial, not a loop', async () => {
  await using registry = await withImage();
  tokenService(registry, { token: 'wrong' });
  registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
  await assert.rejects(openReference(`${registry.host}/team/app:1`), { code: 'REGISTRY_DENIED' });
  assert.equal(registry.seen.length, 3);
});

test('a token service that talks nonsense is reported', async () => {
  for (const answer of ['{}', '{"token":"a\\r\\nX-Evil: 1"}', '[]', 'no json', '{"token":7}']) {
    await using registry = await withImage();
    registry.on(/ \/token/u, (_, response) => void response.end(answer));
    registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
    await assert.rejects(openReference(`${registry.host}/team/app:1`), { code: 'REGISTRY_PROTOCOL' }, answer);
  }
});

test('a redirect to another host takes neither token nor password along', async () => {
  await using registry = await withImage();
  await using storage = await FakeRegistry.start();
  storage.on(/blobs/u, (request, response) => registry.serve(request, response));
  tokenService(registry, { token: 'T' });
  const elsewhere = storage.host.replace('127.0.0.1', 'localhost');
  registry.on(/blobs/u, (request, response) => {
    if (request.headers.authorization !== 'Bearer T') return void response.writeHead(403).end();
    return void response.writeHead(307, { location: `http://user:pass@${elsewhere}${request.url}` }).end();
  });
  registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
  const settings = { allowed: ['localhost'] };
  await using opened = await openReference(`${registry.host}/team/app:1`, { credentials, settings });
  assert.deepEqual(await read(opened.image.layers[0]!.open(signal)), LAYER.bytes);
  assert.equal(storage.seen.length, 2);
  assert.ok(storage.seen.every(({ headers }) => headers.authorization === undefined));
});

test('a 401 of a host that we were redirected to is not answered with credentials', async () => {
  await using registry = await withImage();
  await using thief = await FakeRegistry.start();
  thief.on(/ \/v2\//u, status(401, { 'www-authenticate': 'Basic realm="give"' }));
  const target = thief.host.replace('127.0.0.1', 'localhost');
  registry.on(/manifests/u, status(302, { location: `http://${target}/v2/steal` }));
  await assert.rejects(
    openReference(`${registry.host}/team/app:1`, { credentials, settings: { allowed: ['localhost'] } }),
    { code: 'REGISTRY_DENIED' },
  );
  assert.deepEqual(
    thief.seen.map(({ headers }) => headers.authorization),
    [undefined],
  );
});

test('redirects are bounded and must lead somewhere', async () => {
  await using registry = await withImage();
  registry.on(/manifests\/loop/u, (request, response) => void response.writeHead(302, { location: request.url }).end());
  registry.on(/manifests\/lost/u, status(302));
  registry.on(/manifests\/file/u, status(302, { location: 'file:///etc/passwd' }));
  await assert.rejects(openReference(`${registry.host}/app:loop`), {
    code: 'REGISTRY_PROTOCOL',
    message: /redirects/u,
  });
  await assert.rejects(openReference(`${registry.host}/app:lost`), { code: 'REGISTRY_PROTOCOL', message: /Location/u });
  await assert.rejects(openReference(`${registry.host}/app:file`), { code: 'REGISTRY_ADDRESS_DENIED' });
});

const FORBIDDEN = [
  '127.0.0.2',
  'localhost',
  '0.0.0.0',
  '169.254.169.254',
  '[::1]',
  '[::ffff:127.0.0.1]',
  '2130706434',
  '10.0.0.1',
  'metadata.invalid@169.254.169.254',
];

test('no redirect leads to an address of this machine or its network', async () => {
  for (const host of FORBIDDEN) {
    await using registry = await withImage();
    await using inside = await FakeRegistry.start();
    registry.on(/manifests/u, status(302, { location: `http://${host}:${inside.port}/v2/secret` }));
    await assert.rejects(
      openReference(`${registry.host}/app:1`, { credentials }),
      { code: 'REGISTRY_ADDRESS_DENIED' },
      host,
    );
    assert.deepEqual(inside.log, [], host);
  }
});

test('no token service lives at an address of this machine or its network, nor behind plain http', async () => {
  for (const host of [...FORBIDDEN, 'example.com']) {
    await using registry = await withImage();
    await using inside = await FakeRegistry.start();
    registry.on(/ \/v2\//u, wantsToken(registry, 'T', `http://${host}:${inside.port}/token`));
    await assert.rejects(
      openReference(`${registry.host}/app:1`, { credentials }),
      { code: 'REGISTRY_ADDRESS_DENIED' },
      host,
    );
    assert.deepEqual(inside.log, [], host);
  }
});

test('a name that resolves to this machine needs the settings, and naming an address can be forbidden', async () => {
  await using registry = await withImage();
  const byName = `localhost:${registry.port}/app:1`;
  const strict = { privateByName: false };
  for (const reference of [`${registry.host}/app:1`, byName]) {
    await assert.rejects(
      openReference(reference, { settings: strict }),
      { code: 'REGISTRY_ADDRESS_DENIED' },
      reference,
    );
  }
  assert.deepEqual(registry.log, []);
  await using listed = await openReference(byName, {
    settings: { ...strict, allowed: [`localhost:${registry.port}`] },
  });
  assert.equal(listed.image.layers.length, 1);
  await using insecure = await openReference(byName, { settings: { ...strict, insecure: ['localhost'] } });
  assert.equal(insecure.image.layers.length, 1);
});

test('verifyCredentials tries them before they are kept', async () => {
  await using registry = await FakeRegistry.start();
  registry.on(/ \/token/u, (request, response) => {
    const good = request.headers.authorization === BASIC;
    return void response.writeHead(good ? 200 : 401).end('{"token":"T"}');
  });
  registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
  const good = { username: 'me', password: SECRET };
  assert.equal(await verifyCredentials(`http://${registry.host}/`, good, {}, signal), registry.host);
  await assert.rejects(verifyCredentials(registry.host, { username: 'me', password: 'x' }, {}, signal), {
    code: 'REGISTRY_DENIED',
  });
});

test('an empty or null token beside a good access_token is not the token (I11)', async () => {
  for (const token of ['', null]) {
    await using registry = await withImage();
    tokenService(registry, { token, access_token: 'T', expires_in: null });
    registry.on(/ \/v2\//u, wantsToken(registry, 'T'));
    await using opened = await openReference(`${registry.host}/team/app:1`);
    assert.equal(opened.image.layers.length, 1);
  }
});

test('a 401 without a challenge asks the token service that is known, once for all transfers (B6, I11)', async () => {
  await using registry = await FakeRegistry.start();
  const layers = ['a', 'b', 'c'].map((text) => layerOf(text.repeat(1_000)));
  registry.addImage(layers, { tag: '1' });
  let token = 'T0';
  registry.on(/ \/token/u, (_, response) => void response.end(JSON.stringify({ token, expires_in: 5 })));
  const wanted = (request: IncomingMessage): boolean => request.headers.authorization === `Bearer ${token}`;
  registry.on(/manifests/u, (request, response) => wantsToken(registry, token)(request, response));
  registry.on(/blobs/u, (request, response) =>
    wanted(request) ? registry.serve(request, response) : void response.writeHead(401).end(),
  );
  await using opened = await openReference(`${registry.host}/team/app:1`);
  for (const round of [1, 2]) {
    token = `T${round}`;
    registry.seen.length = 0;
    const bodies = await Promise.all(opened.image.layers.map((layer) => read(layer.open(signal))));
    assert.deepEqual(
      bodies,
      layers.map(({ bytes }) => bytes),
    );
    const renewals = registry.seen.filter(({ url }) => url.startsWith('/token'));
    assert.deepEqual(
      renewals.map(({ url }) => url),
      ['/token?service=fake&scope=repository%3Ateam%2Fapp%3Apull'],
    );
  }
});

test('a registry that refuses the renewed token too is a denial, and is asked once (B6)', async () => {
  await using registry = await withImage();
  tokenService(registry, { token: 'T' });
  registry.on(/manifests|config/u, wantsToken(registry, 'T'));
  await using opened = await openReference(`${registry.host}/team/app:1`);
  registry.on(/blobs/u, status(401));
  registry.seen.length = 0;
  await assert.rejects(read(opened.image.layers[0]!.open(signal)), { code: 'REGISTRY_DENIED' });
  assert.equal(registry.seen.filter(({ url }) => url.startsWith('/token')).length, 1);
});
