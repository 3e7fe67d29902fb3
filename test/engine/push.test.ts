import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PushEvent, PushProgress } from '../../src/contract/image.ts';
import { imagePusher } from '../../src/images/export/push.ts';
import { FakeRegistry, status } from '../support/servers/registry.ts';
import { openEngine, run, script } from './bench.ts';

const PROGRESS: PushProgress = {
  type: 'progress',
  layers_done: 0,
  layers_total: 1,
  packed_bytes: 1,
  total_bytes: 2,
  sent_bytes: 0,
};

test('a push tells how far it is, then what it made', async () => {
  await using bench = await openEngine({
    pusher: async (image, { registry }, { onProgress }) => {
      assert.equal(image.layers.length, 1);
      onProgress(PROGRESS);
      return { reference: registry.url, digest: 'sha256:x' };
    },
  });
  const { engine, base } = bench;
  await engine.tags.set(base.uuid, { tag: 'base' });
  const events: PushEvent[] = [];
  for await (const event of engine.images.push('tag:base', { registry: { url: 'a/b' } })) events.push(event);
  assert.deepEqual(events, [PROGRESS, { type: 'pushed', reference: 'a/b', digest: 'sha256:x' }]);
});

test('a push ends when nobody reads it any more, keeps its layers until then, and frees its place', async () => {
  let ended: unknown;
  await using bench = await openEngine({
    pusher: async (_, __, { onProgress }, signal) => {
      onProgress(PROGRESS);
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject((ended = signal.reason)));
      });
    },
  });
  const { engine, base } = bench;
  for await (const event of engine.images.push(base.uuid, { registry: { url: 'a/b' } })) {
    assert.equal(event.type, 'progress');
    assert.deepEqual(engine.queues.imports, { waiting: 0, running: 1 });
    await engine.images.delete(base.uuid);
    assert.equal((await engine.system.gc({ older_than_days: 0 })).layers, 0, 'the layers are being sent');
    break;
  }
  assert.match(String(ended), /nobody follows/u);
  assert.deepEqual(engine.queues.imports, { waiting: 0, running: 0 });
  assert.equal((await engine.system.gc({ older_than_days: 0 })).layers, 1);
});

test('the accounts of the installation are for the default project only', async () => {
  await using registry = await FakeRegistry.start();
  registry.on(/./u, status(401, { 'www-authenticate': 'Basic realm="x"' }));
  const environment = { [`CONTREE_REGISTRY_AUTH_127_0_0_1_${registry.port}`]: 'owner:secret' };
  await using bench = await openEngine({ pusher: imagePusher({ registries: {}, credentials: { environment } }) });
  const { engine, store } = bench;
  const request = { registry: { url: `${registry.host}/app:1` } };
  const shown = async (of: AsyncIterable<PushEvent>): Promise<boolean> => {
    registry.seen.length = 0;
    await assert.rejects(Array.fromAsync(of), { code: 'REGISTRY_DENIED' });
    return registry.seen.some(({ headers }) => headers.authorization !== undefined);
  };
  assert.equal(await shown(engine.images.push(bench.base.uuid, request)), true);
  const tenant = engine.forTenant({ project: 'other' });
  assert.equal(store.forProject('other').project, 'other');
  await assert.rejects(Array.fromAsync(tenant.images.push(bench.base.uuid, request)), { code: 'IMAGE_NOT_FOUND' });
});

test('a file that OCI cannot represent is kept, and named when the image is exported (I3)', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const made = await run(engine, script(bench, 'echo x > /root/.wh.etc'));
  const image = made.result_image_uuid!;
  const { files } = await engine.files.list(image, { path: '/root' });
  assert.deepEqual(
    files.map(({ path }) => path),
    ['.wh.etc'],
  );
  assert.ok((await engine.files.list(image, { path: '/etc' })).files.length > 0);
  await assert.rejects(engine.images.export(image), { code: 'ARGUMENT_INVALID', message: /root\/\.wh\.etc/u });
});
