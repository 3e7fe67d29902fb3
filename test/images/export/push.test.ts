import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRegistry } from '../../../scripts/support/registry.ts';
import type { PushProgress } from '../../../src/contract/image.ts';
import type { ExportRequest } from '../../../src/images/export/oci-layout.ts';
import { pushImage } from '../../../src/images/export/push.ts';
import type { ImportedImage } from '../../../src/images/import/import-image.ts';
import { Scratch, listing } from '../../support/layers.ts';
import { DOCKER, FakeRegistry, type Handler, OCI, status, type SeenRequest } from '../../support/servers/registry.ts';
import { BASE, oddLayer, pull, requestFor, runTool } from './support.ts';
import { openStore, tarLayer, type TestStore } from '../import/support.ts';

const signal = AbortSignal.timeout(120_000);

/** Pushes an image and also returns the reported progress. */
async function push({ store }: TestStore, request: ExportRequest, target: string) {
  const told: PushProgress[] = [];
  const { tmp, blobs } = store;
  const onProgress = (progress: PushProgress) => void told.push(progress);
  const options = { registries: {}, credentials: async () => undefined, tmp, blobs, onProgress };
  return { ...(await pushImage(request, target, options, signal)), told };
}

interface Manifest {
  readonly layers: readonly { readonly mediaType: string; readonly digest: string; readonly size: number }[];
}

async function manifestOf(reference: string): Promise<Manifest> {
  const args = ['inspect', '--raw', '--tls-verify=false', `docker://${reference}`];
  return JSON.parse(await runTool('skopeo', ...args)) as Manifest;
}

/** The same layers, unreadable: anything that needs their content fails. */
function unreadable(request: ExportRequest): ExportRequest {
  return { ...request, layers: request.layers.map((layer) => ({ ...layer, path: `${layer.path}-gone` })) };
}

test('an image is pushed to a real registry, inspected there, and comes back the same', async () => {
  await using source = await FakeRegistry.start();
  await using registry = await startRegistry();
  await using bench = await openStore();
  await using scratch = await Scratch.create();
  source.addImage([BASE, await oddLayer(scratch)], { tag: '1', config: { config: { Env: ['A=b'] } } });
  const imported = await pull(bench, `${source.host}/app:1`);
  const request = await requestFor(bench, imported);
  const target = `${registry.host}/team/pushed:v1`;
  const pushed = await push(bench, request, target);
  assert.equal(pushed.reference, `docker://${target}`);
  assert.deepEqual(await bench.leftovers(), []);
  const total = request.layers.reduce((sum, { bytes }) => sum + bytes, 0);
  const layers = { layers_done: 2, layers_total: 2, packed_bytes: total, total_bytes: total };
  const { sent_bytes: sent = 0, ...last } = pushed.told.at(-1) ?? {};
  assert.deepEqual(last, { type: 'progress', ...layers });
  assert.ok(sent > 0 && pushed.told.every((one, index) => one.sent_bytes >= (pushed.told[index - 1]?.sent_bytes ?? 0)));
  const inspected = JSON.parse(await runTool('skopeo', 'inspect', '--tls-verify=false', `docker://${target}`)) as {
    Digest: string;
    Env: string[];
  };
  assert.equal(inspected.Digest, pushed.digest);
  assert.deepEqual(inspected.Env, ['A=b']);

  const again = await pull(bench, target);
  const list = async (image: ImportedImage) => listing(await bench.store.layers.files(image.layers));
  assert.deepEqual(await list(again), await list(imported));
  const repeated = await push(bench, unreadable(request), target);
  assert.equal(repeated.digest, pushed.digest);
  assert.equal(repeated.told.at(-1)?.sent_bytes, 0, 'the registry has the layers already');
  const elsewhere = await push(bench, unreadable(request), `${registry.host}/team/copy:v1`);
  assert.equal(elsewhere.digest, pushed.digest);
  assert.equal(elsewhere.told.at(-1)?.sent_bytes, 0, 'and gives them to its other repositories');
});

test('a branch of an imported image sends its own layer only, and lies on the very layers that were imported', async () => {
  await using source = await FakeRegistry.start();
  await using registry = await startRegistry();
  await using bench = await openStore();
  source.addImage([BASE, tarLayer([{ path: 'lib', content: 'b'.repeat(9_000) }], 'zstd')], { tag: '1' });
  await runTool(
    'skopeo',
    '--insecure-policy',
    'copy',
    '--src-tls-verify=false',
    '--dest-tls-verify=false',
    `docker://${source.host}/app:1`,
    `docker://${registry.host}/vendor/app:1`,
  );
  const base = await requestFor(bench, await pull(bench, `${registry.host}/vendor/app:1`));
  source.addImage([BASE, tarLayer([{ path: 'work', content: 'done' }])], { tag: 'work' });
  const work = await requestFor(bench, await pull(bench, `${source.host}/app:work`));
  const branch = { ...base, layers: [...unreadable(base).layers, work.layers[1]!] };
  const target = `${registry.host}/mine/app:1`;
  await push(bench, branch, target);
  const { layers } = await manifestOf(target);
  assert.deepEqual(layers.slice(0, 2), (await manifestOf(`${registry.host}/vendor/app:1`)).layers);
  assert.equal(layers.length, 3);

  await using other = await openStore();
  const files = await other.contents((await pull(other, target)).layers);
  assert.deepEqual([files['lib']?.length, files['work'], files['bin']], [100, 'done', '-> usr/bin']);
});

test('types of Docker become those of OCI in the manifest that is pushed', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const asDocker = (manifest: Record<string, unknown>) => ({
    ...manifest,
    layers: (manifest['layers'] as object[]).map((layer) => ({ ...layer, mediaType: DOCKER.gzip })),
  });
  registry.addImage([BASE], { tag: '1', change: asDocker });
  const request = await requestFor(bench, await pull(bench, `${registry.host}/app:1`));
  const sent: Buffer[] = [];
  acceptUploads(registry, sent);
  await push(bench, unreadable(request), `${registry.host}/app:2`);
  const manifest = JSON.parse(sent.at(-1)!.toString()) as Manifest;
  assert.deepEqual(
    manifest.layers.map(({ mediaType }) => mediaType),
    [OCI.gzip],
  );
});

/** Makes the registry accept every upload, and keeps the bodies. */
function acceptUploads(registry: FakeRegistry, sent: Buffer[]): void {
  registry.on(/^POST [^?]+$/u, status(202, { location: '/v2/upload' }));
  registry.on(/^PUT/u, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      sent.push(Buffer.concat(chunks));
      response.writeHead(201).end();
    });
  });
}

for (const [how, answer, cancelled] of [
  ['is unknown', () => status(202, { location: '/v2/mine/blobs/uploads/1' }), true],
  ['begins an upload that has no address', () => status(202), false],
  ['is forbidden', () => status(403), false],
  [
    'needs a token that we do not get',
    (host) => status(401, { 'www-authenticate': `Bearer realm="http://${host}/denied"` }),
    false,
  ],
] as readonly (readonly [how: string, answer: (host: string) => Handler, cancelled: boolean])[]) {
  test(`a layer is sent where taking it over ${how}`, async () => {
    await using registry = await FakeRegistry.start();
    await using bench = await openStore();
    registry.addImage([BASE], { tag: '1' });
    const request = await requestFor(bench, await pull(bench, `${registry.host}/vendor/app:1`));
    const sent: Buffer[] = [];
    registry.on(/^HEAD/u, status(404));
    registry.on(/denied/u, status(403));
    registry.on(/^POST .*mount=/u, answer(registry.host));
    registry.on(/^DELETE/u, status(405));
    acceptUploads(registry, sent);
    const before = registry.seen.length;
    await push(bench, request, `${registry.host}/mine:1`);
    const requests: SeenRequest[] = registry.seen.slice(before);
    const mounts = requests.filter(({ url }) => url.includes('mount='));
    assert.ok(mounts.length > 0);
    const { searchParams } = new URL(mounts[0]!.url, 'http://registry');
    assert.equal(searchParams.get('from'), 'vendor/app');
    const scopes = '?scope=repository%3Avendor%2Fapp%3Apull&scope=repository%3Amine%3Apull%2Cpush';
    assert.equal(
      requests.some(({ url }) => url === `/denied${scopes}`),
      how === 'needs a token that we do not get',
    );
    assert.equal(
      requests.some(({ method, url }) => method === 'DELETE' && url === '/v2/mine/blobs/uploads/1'),
      cancelled,
    );
    assert.equal(sent.length, 3, 'the layer, the config and the manifest');
    assert.ok(sent[0]!.length > 100);
  });
}

test('a layer is known by its place: the same files over other layers are sent as they are', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const one = tarLayer([{ path: 'one', content: '1' }]);
  registry.addImage([BASE, one], { tag: '1' });
  const request = await requestFor(bench, await pull(bench, `${registry.host}/app:1`));
  const sent: Buffer[] = [];
  acceptUploads(registry, sent);
  const swapped = { ...request, layers: request.layers.toReversed() };
  await push(bench, swapped, `${registry.host}/app:2`);
  assert.equal(sent.length, 4, 'both layers, the config and the manifest');
});
