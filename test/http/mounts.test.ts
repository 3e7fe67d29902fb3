import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Mount } from '../../src/http/app.ts';
import { folderMount } from '../../src/http/static.ts';
import { startServer } from '../support/servers/http-server.ts';

function site() {
  const folder = mkdtempSync(join(tmpdir(), 'contree-site-'));
  mkdirSync(join(folder, 'www', 'assets'), { recursive: true });
  writeFileSync(join(folder, 'secret.html'), 'secret');
  writeFileSync(join(folder, 'www', 'index.html'), '<p>console</p>');
  writeFileSync(join(folder, 'www', 'assets', 'app.js'), 'run()');
  writeFileSync(join(folder, 'www', '.env.html'), 'secret');
  writeFileSync(join(folder, 'www', 'notes.md'), 'secret');
  return { folder: join(folder, 'www'), [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

test('a folder is served at the root, its types known and nothing else of it', async () => {
  using place = site();
  const mount = await folderMount(place.folder);
  assert.ok(mount);
  await using server = await startServer({ mounts: [mount] });
  const index = await server.send('GET', '/');
  assert.deepEqual([index.status, index.text], [200, '<p>console</p>']);
  assert.match(index.headers['content-security-policy'] as string, /default-src 'none'; script-src 'self';/u);
  assert.equal(index.headers['cross-origin-opener-policy'], 'same-origin');
  assert.equal(index.headers['strict-transport-security'], undefined);
  const again = await server.send('GET', '/', { headers: { 'If-None-Match': index.headers['etag'] as string } });
  assert.deepEqual([again.status, again.text], [304, '']);
  const gzip = { 'Accept-Encoding': 'gzip' };
  const packed = await server.send('GET', '/assets/app.js', { headers: gzip });
  assert.deepEqual([packed.headers['content-encoding'], packed.headers['vary']], ['gzip', 'Accept-Encoding']);
  const known = { ...gzip, 'If-None-Match': packed.headers['etag'] as string };
  assert.equal((await server.send('GET', '/assets/app.js', { headers: known })).status, 304);
  // Like another version of the package: same length, same time.
  const { mtime } = statSync(join(place.folder, 'index.html'));
  writeFileSync(join(place.folder, 'index.html'), '<p>CONSOLE</p>');
  utimesSync(join(place.folder, 'index.html'), mtime, mtime);
  const updated = await server.send('GET', '/', { headers: { 'If-None-Match': index.headers['etag'] as string } });
  assert.deepEqual([updated.status, updated.text], [200, '<p>CONSOLE</p>']);
  assert.equal((await server.send('POST', '/')).status, 404);
  assert.equal(index.headers['x-content-type-options'], 'nosniff');
  assert.equal((await server.send('GET', '/assets/app.js')).headers['content-type'], 'text/javascript; charset=utf-8');
  assert.equal((await server.send('HEAD', '/assets/app.js')).text, '');
  const hidden = [
    '/../secret.html',
    '/%2e%2e/secret.html',
    '/assets/..%2f..%2fsecret.html',
    '/.env.html',
    '/notes.md',
    '/%00',
    '/%',
  ];
  for (const path of [...hidden, '/nope.html', '/assets/']) {
    const { status, text } = await server.send('GET', path);
    assert.equal(status, 404, path);
    assert.doesNotMatch(text, /^secret/u, path);
  }
  assert.equal((await server.send('GET', '/v1/images')).status, 200, 'the API is where it was');
  assert.equal(await folderMount(join(place.folder, 'assets')), undefined, 'no index, no mount');
});

test('a mount answers below its path, after the guards, and for whoever may come in', async () => {
  const seen: string[] = [];
  const mount = (open: boolean): Mount => ({
    path: '/mcp',
    open,
    fetch: async (request, principal) => {
      seen.push(`${new URL(request.url).pathname} ${principal?.token ?? 'nobody'}`);
      return new Response(await request.text());
    },
  });
  const nobody = { kind: 'token' as const, verifier: { verify: async () => undefined } };
  await using closed = await startServer({ mounts: [mount(false)], authentication: nobody });
  assert.equal((await closed.send('POST', '/mcp', { body: 'x' })).status, 401);
  await using open = await startServer({ mounts: [mount(true)], origin: { names: [], anyHost: false } });
  assert.equal((await open.send('POST', '/mcp/a', { body: 'hello' })).text, 'hello');
  assert.equal((await open.send('POST', '/mcp', { body: 'x', headers: { Host: 'evil.com' } })).status, 403);
  assert.equal((await open.send('GET', '/mcpx')).status, 404);
  assert.deepEqual(seen, ['/mcp/a nobody']);
});
