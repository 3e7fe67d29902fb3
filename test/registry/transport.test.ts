import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeRegistry, status } from '../support/servers/registry.ts';
import { layerOf, openReference } from './support.ts';

/** A key and a certificate for 127.0.0.1, made for this run. */
function selfSigned(): { readonly key: string; readonly cert: string } {
  const folder = mkdtempSync(join(tmpdir(), 'contree-tls-'));
  try {
    const [key, cert] = [join(folder, 'key'), join(folder, 'cert')];
    const args = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    const name = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    execFileSync('openssl', ['req', ...args, ...name, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a certificate must be trusted: by the system, or by the authority in the settings', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([layerOf('x')], { tag: '1' });
  const tls = selfSigned();
  const server = createTlsServer(tls, (request, response) => registry.serve(request, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as AddressInfo;
    registry.on(/./u, (request, response) => {
      response.writeHead(307, { location: `https://127.0.0.1:${port}${request.url}` }).end();
    });
    await assert.rejects(openReference(`${registry.host}/app:1`), {
      code: 'REGISTRY_UNREACHABLE',
      message: /certificate is not trusted/u,
    });
    await using opened = await openReference(`${registry.host}/app:1`, { settings: { ca: tls.cert } });
    assert.equal(opened.image.layers.length, 1);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('what does not speak TLS is reported as such', async () => {
  await using registry = await FakeRegistry.start();
  await using plain = await FakeRegistry.start();
  registry.on(/./u, status(307, { location: `https://${plain.host}/` }));
  await assert.rejects(openReference(`${registry.host}/app:1`), {
    code: 'REGISTRY_UNREACHABLE',
    message: /does not speak TLS/u,
  });
});

test('plain http needs a loopback registry or one that is listed as insecure', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([layerOf('x')], { tag: '1' });
  const host = `192.0.2.1:${registry.port}`;
  registry.on(/manifests\/away/u, status(307, { location: `http://${host}/` }));
  await assert.rejects(openReference(`${registry.host}/app:away`), {
    code: 'REGISTRY_ADDRESS_DENIED',
    message: /plain http/u,
  });
});

test('requests go through the proxy of the settings, which sees no credentials', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([layerOf('x')], { tag: '1' });
  const asked: string[] = [];
  const proxy = createHttpServer().on('connect', (request, socket) => {
    asked.push(request.url ?? '');
    assert.equal(request.headers.authorization, undefined);
    const upstream = connect(Number(registry.port), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
    });
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const settings = {
    proxy: { http: url, no: 'direct.invalid' },
    insecure: ['registry.invalid:5000', 'direct.invalid'],
  };
  try {
    await using opened = await openReference('registry.invalid:5000/app:1', { settings });
    assert.equal(opened.image.layers.length, 1);
    assert.deepEqual([...new Set(asked)], ['registry.invalid:5000']);
    await assert.rejects(openReference('direct.invalid/app:1', { settings }), { code: 'REGISTRY_UNREACHABLE' });
    registry.on(/manifests\/inside/u, status(307, { location: 'https://169.254.169.254/' }));
    await assert.rejects(openReference('registry.invalid:5000/app:inside', { settings }), {
      code: 'REGISTRY_ADDRESS_DENIED',
    });
    assert.deepEqual([...new Set(asked)], ['registry.invalid:5000'], 'the proxy was never asked for it');
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});
