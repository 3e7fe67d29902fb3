import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { credentialChain } from '../../src/registry/auth/credential-chain.ts';
import { CredentialStore } from '../../src/registry/auth/credential-store.ts';
import { environmentCredentials } from '../../src/registry/auth/credentials.ts';
import { dockerCredentials } from '../../src/registry/auth/docker-config.ts';

const signal = AbortSignal.timeout(20_000);

async function folder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'contree-credentials-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test('CredentialStore keeps credentials in a file that only its owner can read', async () => {
  await using home = await folder();
  const path = join(home.path, 'config', 'registries.json');
  const store = new CredentialStore(path);
  assert.deepEqual(await store.list(), [], 'no file is an empty store');
  await Promise.all([
    store.set('https://index.docker.io/v1/', { username: 'me', password: 's3cret' }),
    store.set('ghcr.io', { username: 'you', password: 'token' }),
  ]);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await stat(join(home.path, 'config'))).mode & 0o777, 0o700);
  assert.deepEqual(await store.list(), [
    { registry: 'docker.io', username: 'me' },
    { registry: 'ghcr.io', username: 'you' },
  ]);
  assert.deepEqual(await store.source('docker.io', signal), { username: 'me', password: 's3cret' });
  assert.equal(await store.source('quay.io', signal), undefined);
  assert.equal(await store.source('constructor', signal), undefined);
  assert.equal(await store.remove('ghcr.io'), true);
  assert.equal(await store.remove('ghcr.io'), false);
  assert.deepEqual(await readdir(join(home.path, 'config')), ['registries.json'], 'no temporary file stays');
});

test('CredentialStore refuses a file that others can read or that is damaged, without quoting it', async () => {
  await using home = await folder();
  const path = join(home.path, 'registries.json');
  await writeFile(path, '{"version":1,"registries":{"x":{"username":"u","password":"hunter2"}}}', { mode: 0o644 });
  await assert.rejects(new CredentialStore(path).source('x', signal), /chmod 600/u);
  await chmod(path, 0o600);
  assert.deepEqual(await new CredentialStore(path).source('x', signal), { username: 'u', password: 'hunter2' });
  for (const damaged of ['{"version":1,"registries":{"x":"hunter2"}}', 'hunter2', '{"version":2}']) {
    await writeFile(path, damaged);
    await assert.rejects(new CredentialStore(path).source('x', signal), (error: Error & { code?: string }) => {
      return error.code === 'CONFIG_INVALID' && !JSON.stringify(error).includes('hunter2');
    });
  }
  await assert.rejects(new CredentialStore(path).set('y', { username: 'a', password: 'b' }), {
    code: 'CONFIG_INVALID',
  });
  assert.equal(await readFile(path, 'utf8'), '{"version":2}', 'a damaged file is not overwritten');
});

test('dockerCredentials reads what docker login leaves', async () => {
  await using home = await folder();
  const path = join(home.path, 'config.json');
  const basic = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
  const auths = {
    'https://index.docker.io/v1/': basic('hub:p:w'),
    'ghcr.io': basic('gh:token'),
    'https://quay.io': { username: 'q', password: 'w' },
    'id.example': { identitytoken: 'long', auth: '' },
    'odd.example': basic('nocolon'),
    'null.example': null,
  };
  await writeFile(path, JSON.stringify({ auths, HttpHeaders: {} }));
  const source = dockerCredentials(path);
  assert.deepEqual(await source('docker.io', signal), { username: 'hub', password: 'p:w' });
  assert.deepEqual(await source('ghcr.io', signal), { username: 'gh', password: 'token' });
  assert.deepEqual(await source('quay.io', signal), { username: 'q', password: 'w' });
  assert.deepEqual(await source('id.example', signal), { identityToken: 'long' });
  for (const registry of ['odd.example', 'null.example', 'none.example', '__proto__']) {
    assert.equal(await source(registry, signal), undefined, registry);
  }
  for (const damaged of ['', '{', '[]', '{"auths":7}']) {
    await writeFile(path, damaged);
    assert.equal(await source('ghcr.io', signal), undefined);
  }
  assert.equal(await dockerCredentials(join(home.path, 'none'))('ghcr.io', signal), undefined);
});

test('dockerCredentials asks credential helpers, bounded', async () => {
  await using home = await folder();
  const script = (name: string, body: string) =>
    writeFile(join(home.path, `docker-credential-${name}`), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  await script('good', 'read host; printf \'{"ServerURL":"%s","Username":"me@%s","Secret":"s"}\' "$host" "$host"');
  await script('token', 'echo \'{"Username":"<token>","Secret":"long"}\'');
  await script('absent', 'echo "credentials not found in native keychain"; exit 1');
  await script('flood', 'yes | head -c 1000000');
  const path = join(home.path, 'config.json');
  const credHelpers = {
    'ghcr.io': 'good',
    'id.example': 'token',
    'flood.example': 'flood',
    'evil.example': '../../bin/sh',
    'missing.example': 'not-installed',
  };
  const auths = { 'absent.example': { username: 'fall', password: 'back' } };
  await writeFile(path, JSON.stringify({ credHelpers, credsStore: 'absent', auths }));
  const before = process.env['PATH'];
  process.env['PATH'] = `${home.path}${delimiter}${before}`;
  try {
    const source = dockerCredentials(path);
    assert.deepEqual(await source('ghcr.io', signal), { username: 'me@ghcr.io', password: 's' });
    assert.deepEqual(await source('id.example', signal), { identityToken: 'long' });
    assert.deepEqual(await source('absent.example', signal), { username: 'fall', password: 'back' });
    for (const registry of ['flood.example', 'evil.example', 'missing.example', 'other.example']) {
      assert.equal(await source(registry, signal), undefined, registry);
    }
    await assert.rejects(source('ghcr.io', AbortSignal.abort(new Error('stop'))), /stop/u);
  } finally {
    process.env['PATH'] = before;
  }
});

test('environmentCredentials finds the variable of a host', async () => {
  const source = environmentCredentials({
    CONTREE_REGISTRY_AUTH_GHCR_IO: 'me:a:b',
    CONTREE_REGISTRY_AUTH_LOCALHOST_5000: 'token-only',
    CONTREE_REGISTRY_AUTH_QUAY_IO: '',
  });
  assert.deepEqual(await source('ghcr.io', signal), { username: 'me', password: 'a:b' });
  assert.deepEqual(await source('localhost:5000', signal), { username: 'token', password: 'token-only' });
  assert.equal(await source('quay.io', signal), undefined);
});

test('credentialChain asks in order: given, our store, Docker, the environment', async () => {
  await using home = await folder();
  const storePath = join(home.path, 'registries.json');
  const dockerConfigPath = join(home.path, 'config.json');
  await new CredentialStore(storePath).set('a.io', { username: 'store', password: '1' });
  await writeFile(
    dockerConfigPath,
    JSON.stringify({
      auths: { 'a.io': { username: 'docker', password: '2' }, 'b.io': { username: 'docker', password: '2' } },
    }),
  );
  const environment = { CONTREE_REGISTRY_AUTH_B_IO: 'env:3', CONTREE_REGISTRY_AUTH_C_IO: 'env:3' };
  const places = { storePath, dockerConfigPath, environment };
  const nameFor = async (registry: string, given?: { username?: string; password?: string }) => {
    const found = await credentialChain(given === undefined ? places : { ...places, given })(registry, signal);
    return found !== undefined && 'username' in found ? found.username : undefined;
  };
  assert.equal(await nameFor('a.io'), 'store');
  assert.equal(await nameFor('b.io'), 'docker');
  assert.equal(await nameFor('c.io'), 'env');
  assert.equal(await nameFor('d.io'), undefined);
  assert.equal(await nameFor('a.io', { username: 'given', password: 'x' }), 'given');
  assert.equal(await nameFor('a.io', { username: '', password: '' }), undefined, 'empty strings mean anonymous');
});
