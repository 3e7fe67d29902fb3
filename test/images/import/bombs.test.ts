import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { limits } from '../../../src/contract/limits.ts';
import { importImage } from '../../../src/images/import/import-image.ts';
import { openArchive } from '../../../src/images/import/archive/open.ts';
import { openReference } from '../../registry/support.ts';
import { Scratch } from '../../support/layers.ts';
import { FakeRegistry, json, OCI, sha256, status, type TestLayer } from '../../support/servers/registry.ts';
import { memberOf } from '../../support/tar.ts';
import { openStore, type TestStore } from './support.ts';
import { stat, writeFile } from 'node:fs/promises';

const MiB = 1024 ** 2;
/** Time within which each attack on memory, disk or time must end, also on a busy machine. */
const TIMEOUT_MS = 300_000;

async function refused({ store, leftovers }: TestStore, reference: string, code: string, message: RegExp) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const pull = async (): Promise<void> => {
    await using opened = await openReference(reference, { signal });
    await importImage(store, opened.image, () => undefined, signal);
  };
  await assert.rejects(pull(), { code, message });
  assert.deepEqual(await leftovers(), [], 'temporary space is returned');
  assert.deepEqual(store.layers.usage(), { count: 0, bytes: 0 });
}

/** A tar that claims one file of 10 GiB of zeros, in about 10 MiB: gzip takes several members in a row. */
function gzipBomb(): Buffer {
  const bytes = 10 * 1024 * MiB;
  const zeros = gzipSync(Buffer.alloc(64 * MiB));
  return Buffer.concat([
    gzipSync(memberOf({ path: 'zeros', pax: { size: `${bytes}` }, size: 0 })),
    ...Array.from({ length: bytes / (64 * MiB) }, () => zeros),
    gzipSync(Buffer.alloc(1024)),
  ]);
}

function layer(bytes: Buffer, mediaType: string = OCI.gzip): TestLayer {
  return { bytes, mediaType, diffId: sha256('unknown') };
}

const RATIO = new RegExp(`limit of \\d+ unpacked bytes .*at most ${limits.unpackedPerPackedMax} times`, 'u');

test('10 GiB out of 10 MiB of gzip end at the limit on what may come out of how little', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const bomb = gzipBomb();
  assert.ok(bomb.length < 11 * MiB);
  registry.addImage([layer(bomb)], { tag: '1' });
  await refused(bench, `${registry.host}/app:1`, 'LAYER_LIMIT', RATIO);
});

test('the same for zstd, whose ratio has no bound of its own', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const zeros = zstdCompressSync(Buffer.alloc(64 * MiB), { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
  const header = zstdCompressSync(memberOf({ path: 'zeros', pax: { size: `${10 * 1024 * MiB}` }, size: 0 }));
  const bomb = Buffer.concat([header, ...Array.from({ length: 160 }, () => zeros)]);
  registry.addImage([layer(bomb, OCI.zstd)], { tag: '1' });
  await refused(bench, `${registry.host}/app:1`, 'LAYER_LIMIT', RATIO);
});

test('the same for an uploaded archive', async () => {
  await using scratch = await Scratch.create();
  await using bench = await openStore();
  const path = scratch.path();
  await writeFile(path, gzipBomb());
  const { size: bytes } = await stat(path);
  const source = { path, bytes, digest: sha256('x'), name: 'bomb', tmp: bench.store.tmp };
  const bring = async (): Promise<void> => {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    await using image = await openArchive(source, signal);
    await importImage(bench.store, image, () => undefined, signal);
  };
  await assert.rejects(bring(), { code: 'LAYER_LIMIT', message: RATIO });
  assert.deepEqual(await bench.leftovers(), []);
});

test('2,000,000 empty files end at the limit on entries', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const headers = Array.from({ length: 2_000 }, (_, folder) => [
    memberOf({ path: `d${folder}/`, flag: '5', mode: 0o755 }),
    ...Array.from({ length: 10 }, (_file, file) => memberOf({ path: `d${folder}/${file}` })),
  ]);
  // Repeated names are entries too.
  const part = gzipSync(Buffer.concat(headers.flat()), { level: 1 });
  const layers = Buffer.concat(Array.from({ length: 92 }, () => part));
  registry.addImage([layer(layers)], { tag: '1' });
  await refused(
    bench,
    `${registry.host}/app:1`,
    'LAYER_LIMIT',
    new RegExp(`${limits.entriesPerLayerMax} entries`, 'u'),
  );
});

test('100,000 layers end at the limit on the manifest or on layers', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const config = registry.addBlob(json({}), OCI.config);
  const one = { mediaType: OCI.gzip, digest: sha256('x'), size: 1 };
  const manifest = (count: number) => ({
    schemaVersion: 2,
    mediaType: OCI.manifest,
    config,
    layers: Array.from({ length: count }, () => one),
  });
  registry.addManifest(manifest(100_000), OCI.manifest, 'many');
  await refused(bench, `${registry.host}/app:many`, 'IMAGE_LIMIT', /bytes of a manifest|a manifest/u);
  registry.addManifest(manifest(10_000), OCI.manifest, 'fewer');
  await refused(
    bench,
    `${registry.host}/app:fewer`,
    'IMAGE_LIMIT',
    new RegExp(`${limits.layersPerImageMax} layers`, 'u'),
  );
});

test('a manifest of 50 MB is not read to its end', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const manifest = Buffer.alloc(50_000_000, ' ');
  let sent = 0;
  registry.on(/manifests\/big/u, (_, response) => {
    response.writeHead(200, { 'content-type': OCI.manifest });
    const send = (): void => {
      while (sent < manifest.length && response.writable) {
        const part = manifest.subarray(sent, sent + 65_536);
        sent += part.length;
        if (!response.write(part)) return void response.once('drain', send);
      }
      response.end();
    };
    send();
  });
  await refused(bench, `${registry.host}/app:big`, 'IMAGE_LIMIT', /a manifest/u);
  assert.ok(sent < manifest.length, `${sent} bytes were taken`);
  registry.on(/manifests\/said/u, status(200, { 'content-type': OCI.manifest, 'content-length': '50000000' }, '{'));
  await refused(bench, `${registry.host}/app:said`, 'IMAGE_LIMIT', /a manifest/u);
});
