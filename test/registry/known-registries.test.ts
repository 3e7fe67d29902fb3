import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { RegistryCredentials } from '../../src/registry/auth/credentials.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { layerOf, openReference, read } from './support.ts';

/*
 * How the well-known registries authenticate: the challenge they send, where the credentials go, the name of the token
 * in the answer, and whether blobs come from a storage host that must not see any of it (object stores refuse requests
 * that are signed in the URL and have an Authorization header too). ORIGIN stands for the address of the server.
 */
interface Way {
  readonly registry: string;
  readonly challenge: string;
  /** Path of the token service; undefined with Basic only. */
  readonly token?: string;
  readonly answer?: (token: string) => object;
  readonly credentials: RegistryCredentials;
  readonly storage?: boolean;
}

const SCOPE = 'repository:team/app:pull';
const me: RegistryCredentials = { username: 'me', password: 'secret' };
const SERVICE_ACCOUNT = JSON.stringify(
  { type: 'service_account', private_key: '-----BEGIN:\nKEY: a\n-----END\n' },
  null,
  2,
);

const WAYS: readonly Way[] = [
  {
    registry: 'Docker Hub, with an access token as password',
    challenge: `Bearer realm="ORIGIN/token",service="registry.docker.io",scope="${SCOPE}"`,
    token: '/token',
    answer: (token) => ({ token, access_token: token, expires_in: 300, issued_at: '2026-01-01T00:00:00Z' }),
    credentials: me,
    storage: true,
  },
  {
    registry: 'Docker Hub, with an identity token of docker login',
    challenge: `Bearer realm="ORIGIN/token",service="registry.docker.io",scope="${SCOPE}"`,
    token: '/token',
    answer: (token) => ({ access_token: token, refresh_token: 'r', expires_in: 300 }),
    credentials: { identityToken: 'identity' },
  },
  {
    registry: 'GitHub (ghcr.io)',
    challenge: `Bearer realm="ORIGIN/token",service="ghcr.io",scope="${SCOPE}"`,
    token: '/token',
    answer: (token) => ({ token }),
    credentials: me,
    storage: true,
  },
  {
    registry: 'GitLab, whose token service is the web server',
    challenge: `Bearer realm="ORIGIN/jwt/auth",service="container_registry",scope="${SCOPE}",error="invalid_token"`,
    token: '/jwt/auth',
    answer: (token) => ({ token }),
    credentials: { username: 'gitlab-ci-token', password: 'job:token' },
  },
  {
    registry: 'Quay',
    challenge: `Bearer realm="ORIGIN/v2/auth",service="quay.io",scope="${SCOPE}"`,
    token: '/v2/auth',
    answer: (token) => ({ token }),
    credentials: { username: 'team+robot', password: 'secret' },
    storage: true,
  },
  {
    registry: 'Google (gcr.io, Artifact Registry), with a service account key',
    challenge: `Bearer realm="ORIGIN/v2/token",service="gcr.io",scope="${SCOPE}"`,
    token: '/v2/token',
    answer: (token) => ({ token, expires_in: 3600 }),
    credentials: { username: '_json_key', password: SERVICE_ACCOUNT },
    storage: true,
  },
  {
    registry: 'Azure, with several challenges in one header',
    challenge: `Bearer realm="ORIGIN/oauth2/token",service="team.azurecr.io",scope="${SCOPE}", Basic realm="x"`,
    token: '/oauth2/token',
    answer: (token) => ({ access_token: token }),
    credentials: me,
  },
  {
    registry: 'Amazon (ECR)',
    challenge: 'Basic realm="ORIGIN/",service="ecr.amazonaws.com"',
    credentials: { username: 'AWS', password: Buffer.from('{"payload":"…"}'.repeat(100)).toString('base64') },
    storage: true,
  },
  {
    registry: 'a server of one’s own behind a password file',
    challenge: 'Basic realm="Registry Realm"',
    credentials: me,
  },
];

function basicOf(credentials: RegistryCredentials): string {
  if ('identityToken' in credentials) return '';
  return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`;
}

for (const { registry: name, challenge, token, answer, credentials, storage = false } of WAYS) {
  test(`${name} lets us in`, async () => {
    await using registry = await FakeRegistry.start();
    await using store = await FakeRegistry.start();
    const layer = layerOf(name);
    registry.addImage([layer], { tag: '1' });
    const issued = createHash('sha256').update(name).digest('hex');
    const wanted = token === undefined ? basicOf(credentials) : `Bearer ${issued}`;
    if (token !== undefined) {
      registry.on(new RegExp(` ${token}`, 'u'), (request, response) => {
        const let_in =
          'identityToken' in credentials
            ? request.method === 'POST'
            : request.headers.authorization === basicOf(credentials);
        response.writeHead(let_in ? 200 : 401).end(JSON.stringify(answer?.(issued)));
      });
    }
    registry.on(/ \/v2\//u, (request, response) => {
      if (request.headers.authorization !== wanted) {
        const header = challenge.replaceAll('ORIGIN', `http://${registry.host}`);
        return void response.writeHead(401, { 'www-authenticate': header }).end();
      }
      if (!storage || !/blobs/u.test(request.url ?? '')) return registry.serve(request, response);
      const location = `http://${store.host.replace('127.0.0.1', 'localhost')}${request.url}?signature=x`;
      return void response.writeHead(307, { location }).end();
    });
    store.on(/./u, (request, response) => {
      if (request.headers.authorization !== undefined) return void response.writeHead(400).end();
      request.url = request.url?.replace(/\?.*$/u, '') ?? '';
      return registry.serve(request, response);
    });
    const settings = { allowed: ['localhost'] };
    await using opened = await openReference(`${registry.host}/team/app:1`, {
      credentials: async () => credentials,
      settings,
    });
    assert.deepEqual(await read(opened.image.layers[0]!.open(AbortSignal.timeout(20_000))), layer.bytes);
    assert.equal(store.seen.length > 0, storage);
  });
}
