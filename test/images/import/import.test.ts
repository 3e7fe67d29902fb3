import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { limits } from '../../../src/contract/limits.ts';
import { importImage, type ImportedImage } from '../../../src/images/import/import-image.ts';
import type { ImportProgress } from '../../../src/contract/image.ts';
import { cutAfter, FakeRegistry, status, type TestLayer } from '../../support/servers/registry.ts';
import { openReference } from '../../registry/support.ts';
import { openStore, rawLayer, tarLayer, type TestStore } from './support.ts';
import { LoopWatch } from '../../support/time/stopwatch.ts';

const BASE = tarLayer([
  { path: 'etc/', flag: '5', mode: 0o755 },
  { path: 'etc/motd', content: 'base' },
  { path: 'usr/', flag: '5', mode: 0o755 },
  { path: 'usr/bin/', flag: '5', mode: 0o755 },
  { path: 'bin', flag: '2', linkname: 'usr/bin' },
]);
const MIDDLE = tarLayer([{ path: 'bin/tool', content: 'tool' }, { path: 'etc/.wh.motd' }], 'zstd');
const TOP = tarLayer([{ path: 'etc/motd', content: 'top' }], 'none');

interface Pulled {
  readonly imported: ImportedImage;
  readonly progress: readonly ImportProgress[];
}

async function pull(
  { store }: TestStore,
  reference: string,
  signal: AbortSignal = AbortSignal.timeout(20_000),
): Promise<Pulled> {
  await using opened = await openReference(reference);
  const progress: ImportProgress[] = [];
  const imported = await importImage(store, opened.image, (step) => progress.push(step), signal);
  return { imported, progress };
}

function blobPath({ bytes }: TestLayer, registry: FakeRegistry): RegExp {
  return new RegExp(registry.addBlob(bytes, '').digest, 'u');
}

test('importImage turns OCI layers into layers of the store, paths resolved in what lies below', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const config = { config: { Env: ['A=b'], WorkingDir: '/etc' } };
  const { digest } = registry.addImage([BASE, MIDDLE, TOP], { tag: '1', config });
  const { imported, progress } = await pull(bench, `${registry.host}/app:1`);
  assert.equal(imported.layers.length, 3);
  assert.equal(imported.sourceDigest, digest);
  assert.equal(imported.reference, `docker://${registry.host}/app:1`);
  assert.equal(imported.config.cwd, '/etc');
  assert.deepEqual(await bench.contents(imported.layers), {
    bin: '-> usr/bin',
    etc: 'directory',
    'etc/motd': 'top',
    usr: 'directory',
    'usr/bin': 'directory',
    'usr/bin/tool': 'tool',
  });
  assert.deepEqual(await bench.leftovers(), []);
  const bytesTotal = [BASE, MIDDLE, TOP].reduce((sum, { bytes }) => sum + bytes.length, 0);
  assert.deepEqual(progress[0], { layers_done: 0, layers_total: 3, done_bytes: 0, total_bytes: bytesTotal });
  assert.deepEqual(progress.at(-1), {
    layers_done: 3,
    layers_total: 3,
    done_bytes: bytesTotal,
    total_bytes: bytesTotal,
  });
});

test('an unchanged image is imported again without reading a layer', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  registry.addImage([BASE, MIDDLE], { tag: '1' });
  const first = await pull(bench, `${registry.host}/app:1`);
  registry.seen.length = 0;
  const second = await pull(bench, `${registry.host}/app:1`);
  assert.deepEqual(second.imported, first.imported);
  assert.equal(registry.log.length, 2, 'manifest and config');
  assert.deepEqual(second.progress, [{ layers_done: 2, layers_total: 2, done_bytes: 0, total_bytes: 0 }]);
});

test('images share the layers they have in common from the bottom up', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  registry.addImage([BASE, MIDDLE], { tag: 'one' });
  registry.addImage([BASE, TOP], { tag: 'two' });
  const one = await pull(bench, `${registry.host}/app:one`);
  registry.on(blobPath(BASE, registry), status(500));
  const two = await pull(bench, `${registry.host}/app:two`);
  assert.equal(one.imported.layers[0], two.imported.layers[0]);
  assert.notEqual(one.imported.layers[1], two.imported.layers[1]);
});

test('the same layer on top of another one is built anew, because its paths may lead elsewhere', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const other = tarLayer([{ path: 'bin/', flag: '5', mode: 0o755 }]);
  registry.addImage([BASE, MIDDLE], { tag: 'link' });
  registry.addImage([other, MIDDLE], { tag: 'directory' });
  const link = await pull(bench, `${registry.host}/app:link`);
  const directory = await pull(bench, `${registry.host}/app:directory`);
  assert.equal((await bench.contents(link.imported.layers))['usr/bin/tool'], 'tool');
  assert.equal((await bench.contents(directory.imported.layers))['bin/tool'], 'tool');
});

test('a wrong diffID is found', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  registry.addImage([BASE, { ...MIDDLE, diffId: TOP.diffId }], { tag: '1' });
  await assert.rejects(pull(bench, `${registry.host}/app:1`), { code: 'DIGEST_MISMATCH', message: /layer 2/u });
  assert.deepEqual(await bench.leftovers(), []);
});

test('damaged, cut-off and hostile layers end the import with their fault and leave nothing', async () => {
  const gzipped = tarLayer([{ path: 'a', content: randomBytes(5_000).toString('hex') }]);
  const cases: readonly (readonly [string, TestLayer, string])[] = [
    ['no tar', rawLayer(Buffer.from('x'.repeat(2_000))), 'LAYER_MALFORMED'],
    ['cut-off gzip', { ...gzipped, bytes: gzipped.bytes.subarray(0, 1_000) }, 'LAYER_MALFORMED'],
    [
      'garbage behind gzip',
      { ...gzipped, bytes: Buffer.concat([gzipped.bytes, Buffer.from('garbage')]) },
      'LAYER_MALFORMED',
    ],
    ['outside', tarLayer([{ path: '../../etc/x', content: 'x' }]), 'LAYER_MALFORMED'],
    ['whiteout of nothing', tarLayer([{ path: 'etc/.wh.' }]), 'LAYER_MALFORMED'],
    ['too large', tarLayer([{ path: 'a', pax: { size: `${limits.layerFileBytesMax + 1}` } }]), 'LAYER_LIMIT'],
  ];
  for (const [what, layer, code] of cases) {
    await using registry = await FakeRegistry.start();
    await using bench = await openStore();
    registry.addImage([BASE, layer, TOP, MIDDLE], { tag: '1' });
    await assert.rejects(pull(bench, `${registry.host}/app:1`), { code }, what);
    assert.deepEqual(await bench.leftovers(), [], what);
  }
});

test('interrupted layers are read on, wrong ones are refused', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const large = tarLayer([{ path: 'large', content: randomBytes(300_000) }]);
  const second = tarLayer([{ path: 'second', content: randomBytes(300_000) }]);
  registry.addImage([large, second], { tag: '1' });
  registry.on(blobPath(large, registry), cutAfter(registry, 100_000), 2);
  registry.on(blobPath(second, registry), cutAfter(registry, 100_000), 2);
  const { imported, progress } = await pull(bench, `${registry.host}/app:1`);
  assert.equal(imported.layers.length, 2);
  assert.equal(progress.at(-1)?.done_bytes, large.bytes.length + second.bytes.length, 'nothing is counted twice');

  const wrong = Buffer.from(TOP.bytes);
  wrong[600]! ^= 1;
  registry.addImage([large, TOP], { tag: '2' });
  registry.on(blobPath(TOP, registry), (_, response) => void response.end(wrong));
  await assert.rejects(pull(bench, `${registry.host}/app:2`), { code: 'DIGEST_MISMATCH' });
  assert.deepEqual(await bench.leftovers(), []);
});

test('layers are fetched ahead, but not all at once', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const layers = Array.from({ length: 8 }, (_, index) =>
    tarLayer([{ path: `file-${index}`, content: randomBytes(200_000) }], 'none'),
  );
  registry.addImage(layers, { tag: '1' });
  let open = 0;
  let openMax = 0;
  const paths = layers.map((layer) => blobPath(layer, registry));
  // The registry answers only once the maximum number of requests has arrived.
  const { promise: enough, resolve: answer } = Promise.withResolvers<void>();
  for (const path of paths) {
    registry.on(path, (request, response) => {
      open += 1;
      openMax = Math.max(openMax, open);
      response.on('close', () => (open -= 1));
      if (open === limits.layerDownloadsAtOnce) answer();
      void enough.then(() => registry.serve(request, response));
    });
  }
  const { imported } = await pull(bench, `${registry.host}/app:1`);
  assert.equal(imported.layers.length, 8);
  assert.equal(openMax, limits.layerDownloadsAtOnce);
});

test('the signal ends an import at once and nothing temporary stays', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  registry.addImage([BASE, MIDDLE, TOP], { tag: '1' });
  const abort = new AbortController();
  // The second layer never ends; the third is being fetched ahead.
  registry.on(blobPath(MIDDLE, registry), (_, response) => {
    response.writeHead(200, { 'content-length': MIDDLE.bytes.length }).write(MIDDLE.bytes.subarray(0, 10));
    setImmediate(() => abort.abort(new Error('enough')));
  });
  using watch = new LoopWatch();
  await assert.rejects(pull(bench, `${registry.host}/app:1`, abort.signal), /enough/u);
  assert.ok(watch.ms < 2_000);
  assert.deepEqual(await bench.leftovers(), []);
  registry.on(/never/u, status(500));
});

test('an image without layers is refused', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  registry.addImage([], { tag: '1' });
  await assert.rejects(pull(bench, `${registry.host}/app:1`), { code: 'LAYER_MALFORMED', message: /no layers/u });
});

test('a bomb is stopped at the limit on its bytes', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  // 512 GiB of zeros claimed by 1 KiB of archive.
  const bomb = tarLayer([{ path: 'zeros', pax: { size: `${512 * 1024 ** 3}` } }]);
  registry.addImage([bomb], { tag: '1' });
  await assert.rejects(pull(bench, `${registry.host}/app:1`), {
    code: 'LAYER_LIMIT',
    message: new RegExp(String(limits.layerFileBytesMax), 'u'),
  });
  assert.deepEqual(await bench.leftovers(), []);
});
