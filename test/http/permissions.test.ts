import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { PERMISSIONS, type Permission } from '../../src/contract/permissions.ts';
import { ROUTES } from '../../src/http/api/routes.ts';
import { seen } from '../engine/bench.ts';
import { serveBench } from '../support/servers/served-engine.ts';

/** The single permission that suffices for each route; `-` is none, several are alternatives. */
const NEEDED: Readonly<Record<string, string>> = {
  'GET /images': 'list',
  'GET /images/{imageUUID}/lineage': 'list',
  'GET /images/{imageUUID}/export': 'list',
  'DELETE /images/{imageUUID}': 'delete',
  'DELETE /images/{imageUUID}/tag': 'set_image_tag',
  'PATCH /images/{imageUUID}/tag': 'set_image_tag',
  'POST /images/import': 'import',
  'POST /images/import-archive': 'import',
  'POST /builds': 'spawn',
  'POST /images/{imageUUID}/push': 'push',
  'GET /files': 'list',
  'HEAD /files': 'list',
  'GET /files/{sha256}': 'list',
  'HEAD /files/{sha256}': 'list',
  'POST /files': 'upload',
  'POST /files/bulk': 'upload',
  'POST /directory-states': 'upload',
  'POST /instances': 'spawn',
  'POST /instances/open': 'spawn spawn_disposable',
  'GET /instances': 'list',
  'GET /instances/{operationId}': 'list',
  'POST /instances/{operationId}/snapshot': 'spawn',
  'POST /instances/{operationId}/close': 'spawn spawn_disposable',
  'POST /instances/{operationId}/ports': 'spawn spawn_disposable',
  'POST /instances/{operationId}/ports/{port}/link': 'spawn spawn_disposable',
  'DELETE /instances/{operationId}/ports/{port}': 'spawn spawn_disposable',
  'GET /operations': 'list',
  'GET /operations/{operationId}': 'list',
  'DELETE /operations/{operationId}': 'cancel',
  'GET /operations/{operationId}/events': 'list',
  'POST /operations/{operationId}/subprocesses': 'spawn spawn_disposable',
  'GET /operations/{operationId}/subprocesses/{spid}': 'list',
  'DELETE /operations/{operationId}/subprocesses/{spid}': 'spawn spawn_disposable',
  'POST /operations/{operationId}/subprocesses/{spid}/stdin': 'spawn spawn_disposable',
  'POST /operations/{operationId}/subprocesses/{spid}/resize': 'spawn spawn_disposable',
  'GET /inspect': 'list',
  'GET /inspect/': 'list',
  'GET /inspect/{image_uuid}': 'list',
  'GET /inspect/{image_uuid}/': 'list',
  'GET /inspect/{image_uuid}/download': 'list',
  'HEAD /inspect/{image_uuid}/download': 'list',
  'GET /inspect/{image_uuid}/archive': 'list',
  'HEAD /inspect/{image_uuid}/archive': 'list',
  'GET /inspect/{image_uuid}/list': 'list',
  'GET /inspect/{image_uuid}/stat': 'list',
  'GET /inspect/{image_uuid}/grep': 'list',
  'GET /inspect/{image_uuid}/diff': 'list',
  'GET /whoami': '-',
  'GET /usage': 'list',
  'POST /gc': 'admin',
  'GET /doctor': 'list',
  'GET /engine': 'metrics admin',
  'POST /engine/stop': 'admin',
  'GET /tokens': 'admin',
  'POST /tokens': 'admin',
  'DELETE /tokens/{uuid}': 'admin',
  'GET /projects': 'admin',
  'PATCH /projects/{project}': 'admin',
};

test('each route asks for its permission, over the wire, and for no other', async () => {
  await using served = await serveBench();
  assert.deepEqual(Object.keys(NEEDED).toSorted(), ROUTES.map(({ row }) => `${row.method} ${row.path}`).toSorted());
  const only = new Map<Permission, Awaited<ReturnType<typeof served.client>>>();
  for (const permission of PERMISSIONS) only.set(permission, await served.client({ permissions: [permission] }));
  for (const [route, needed] of Object.entries(NEEDED)) {
    const [method = '', path = ''] = route.split(' ');
    const target = `/v1${path.replace(/\{(?:spid|port)\}/u, '1').replaceAll(/\{\w+\}/gu, randomUUID())}`;
    const query = method === 'GET' || method === 'HEAD' ? '?path=/&pattern=x&tag=nope&sha256=a&to=tag:x' : '';
    const enough = new Set(needed.split(' '));
    for (const [permission, { send }] of only) {
      // No request may have an effect: the engine must not stop, and the named subjects do not exist.
      if (route === 'POST /engine/stop' && permission === 'admin') continue;
      const body = method === 'POST' || method === 'PATCH' ? { body: '{}' } : {};
      const { status, json } = await send(method, `${target}${query}`, body);
      const refused = status === 403;
      const free = needed === '-' || enough.has(permission);
      // `spawn_disposable` is sufficient for POST /instances; whether the run is allowed depends on the request.
      if (route === 'POST /instances' && permission === 'spawn_disposable') continue;
      assert.equal(refused, !free, `${route} with ${permission} → ${status}`);
      const code = (json as { code?: string } | undefined)?.code;
      if (refused && method !== 'HEAD') assert.equal(code, 'PERMISSION_MISSING', route);
    }
    const anonymous = await fetch(`${served.address}${target}${query}`, { method, redirect: 'manual' });
    assert.equal(anonymous.status, 401, `${route} without a token`);
  }
  assert.equal((await fetch(`${served.address}/metrics`)).status, 401);
  assert.equal(
    (await served.client({ permissions: ['list'] }).then(({ send }) => send('GET', '/metrics'))).status,
    403,
  );
});

test('a token for disposable runs starts processes and sends input in those only', async () => {
  await using served = await serveBench();
  const [owner, limited] = [await served.client(), await served.client({ permissions: ['spawn_disposable'] })];
  const started = async (disposable: boolean): Promise<string> => {
    const stdin = { value: '', close: false };
    const body = { command: 'cat', image: served.bench.base.uuid, disposable, stdin };
    const { uuid } = (await owner.send('POST', '/v1/instances', { body })).json as { uuid: string };
    await seen(served.bench.engine, uuid, ({ type }) => type === 'spawn');
    return uuid;
  };
  const sent = async (uuid: string): Promise<number[]> => {
    const processes = `/v1/operations/${uuid}/subprocesses`;
    const exec = await limited.send('POST', processes, { body: { command: 'true' } });
    const input = await limited.send('POST', `${processes}/1/stdin`, { body: { value: 'x', close: false } });
    return [exec.status, input.status];
  };
  const disposable = await started(true);
  assert.deepEqual(await sent(disposable), [201, 204]);
  assert.deepEqual(await sent(await started(false)), [403, 403]);
  const { status } = await owner.send('GET', `/v1/operations/${disposable}/subprocesses/0`);
  assert.equal(status, 400, 'processes that clients can name begin with 1');
});
