import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imagePusher } from '../../src/images/export/push.ts';
import { imageImporter } from '../../src/images/import/importer.ts';
import type { RegistrySettings } from '../../src/registry/client.ts';
import { tarLayer } from '../images/import/support.ts';
import { PLATFORM } from '../registry/support.ts';
import type { Answer, Wire } from '../support/servers/http-server.ts';
import { FakeRegistry, status } from '../support/servers/registry.ts';
import { serveBench, type ServedEngine } from '../support/servers/served-engine.ts';

/** An engine whose imports and pushes really contact registries. */
function serve(registries: RegistrySettings = {}): Promise<ServedEngine> {
  const importer = imageImporter({ registries, credentials: {}, platform: PLATFORM });
  return serveBench({ importer, pusher: imagePusher({ registries, credentials: {} }) });
}

/** Imports from that address; returns undefined on success, otherwise the error's code. */
async function importAs(caller: Pick<Wire, 'send'>, url: string, headers = {}): Promise<string | undefined> {
  const accepted = await caller.send('POST', '/v1/images/import', { headers, body: { registry: { url } } });
  assert.equal(accepted.status, 201, accepted.text);
  const { uuid } = accepted.json as { uuid: string };
  for (;;) {
    const { json } = await caller.send('GET', `/v1/operations/${uuid}?wait=10`, { headers });
    const { status: state, error_code: code } = json as { status: string; error_code?: string };
    if (state === 'SUCCESS') return undefined;
    if (state === 'FAILED') return code ?? state;
  }
}

/** The same for a push, whose answer is a stream once it has started. */
async function pushAs(caller: Pick<Wire, 'send'>, image: string, url: string): Promise<Answer> {
  return caller.send('POST', `/v1/images/${image}/push`, { body: { registry: { url } } });
}

test('a token reaches no registry at an address of this machine or its network by naming it', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([tarLayer([{ path: 'etc/motd', content: 'hello' }])], { tag: '1' });
  await using served = await serve();
  const tenant = await served.client({ project: 'alpha' });
  const image = (await served.bench.engine.images.list({}))[0]?.uuid ?? '';
  const admin = await served.client({ permissions: ['list', 'import', 'push', 'admin'] });
  for (const host of [
    registry.host,
    `localhost:${registry.port}`,
    `[::1]:${registry.port}`,
    '10.0.0.1',
    `0x7f000001:${registry.port}`,
  ]) {
    assert.equal(await importAs(tenant, `docker://${host}/app:1`), 'REGISTRY_ADDRESS_DENIED', host);
    assert.equal(await importAs(admin, `docker://${host}/app:1`), 'REGISTRY_ADDRESS_DENIED', host);
    assert.match((await pushAs(admin, image, `docker://${host}/app:2`)).text, /REGISTRY_ADDRESS_DENIED/u, host);
  }
  // A server acting for someone else has no more permissions for that, although it may open the socket.
  assert.equal(
    await importAs(served.owner, `${registry.host}/app:1`, { 'contree-on-behalf': 'anyone' }),
    'REGISTRY_ADDRESS_DENIED',
  );
  assert.deepEqual(registry.log, []);
  assert.equal(await importAs(served.owner, `${registry.host}/app:1`), undefined, 'the owner names what it likes');
});

test('what the settings open is open to tokens, and leads nowhere else', async () => {
  await using registry = await FakeRegistry.start();
  await using inside = await FakeRegistry.start();
  registry.addImage([tarLayer([{ path: 'etc/motd', content: 'hello' }])], { tag: '1' });
  await using served = await serve({ allowed: [registry.host] });
  const tenant = await served.client({ project: 'alpha' });
  assert.equal(await importAs(tenant, `${registry.host}/app:1`), undefined);
  registry.on(/manifests\/moved/u, status(302, { location: `http://${inside.host}/v2/secret` }));
  assert.equal(await importAs(tenant, `${registry.host}/app:moved`), 'REGISTRY_ADDRESS_DENIED');
  const realm = `Bearer realm="http://${inside.host}/token",service="x"`;
  registry.on(/manifests\/asks/u, status(401, { 'www-authenticate': realm }));
  assert.equal(await importAs(tenant, `${registry.host}/app:asks`), 'REGISTRY_ADDRESS_DENIED');
  assert.deepEqual(inside.log, []);
});
