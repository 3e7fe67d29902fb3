import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { test } from 'node:test';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { fault } from '../../src/contract/errors.ts';
import type { Importer } from '../../src/images/import/importer.ts';
import { addLayer } from '../store/bench.ts';
import { finished, followed, once, openEngine, seen } from './bench.ts';

const URL = 'docker://registry.example/library/thing:1';

/** Imports one layer with the content of `url` as if it came from a registry. */
function importer(more: Partial<Importer> = {}): Importer {
  return {
    fromRegistry: async ({ url }, { store, progress }) => {
      progress(`fetching ${url}`);
      const layer = await addLayer(store, url);
      return { layers: [layer.digest], config: EMPTY_IMAGE_CONFIG };
    },
    fromArchive: async ({ file }, { store }) => {
      const { sha256 } = store.files.get(file);
      return { layers: [(await addLayer(store, sha256)).digest], config: EMPTY_IMAGE_CONFIG };
    },
    ...more,
  };
}

test('an import is an operation with a log, a result image and a tag', async () => {
  await using bench = await openEngine({ importer: importer() });
  const { engine } = bench;
  const { uuid } = await engine.images.import({ registry: { url: URL }, tag: 'thing:1' });
  const events = await followed(engine, uuid);
  assert.deepEqual(
    events.map(({ type, spid }) => [type, spid]),
    [
      ['stdout', 0],
      ['completion', undefined],
    ],
  );
  const operation = await engine.operations.get(uuid);
  assert.equal(operation.kind, 'image_import');
  assert.equal(operation.status, 'SUCCESS');
  assert.deepEqual(operation.result, { image: operation.result_image_uuid, tag: 'thing:1' });
  const image = await engine.images.get('tag:thing:1');
  assert.equal(image.uuid, operation.result_image_uuid);
  assert.equal(image.operation_uuid, uuid);
  const last = events.at(-1);
  assert.ok(last?.type === 'completion' && last.data.result_image_uuid === image.uuid);
});

test('importing the same again succeeds with the same image', async () => {
  await using bench = await openEngine({ importer: importer() });
  const { engine, store } = bench;
  const first = await finished(engine, (await engine.images.import({ registry: { url: URL } })).uuid);
  const second = await finished(engine, (await engine.images.import({ registry: { url: URL }, tag: 'again' })).uuid);
  assert.equal(second.status, 'SUCCESS');
  assert.equal(second.result_image_uuid, first.result_image_uuid);
  assert.equal(store.images.count(), 2);
  assert.equal(store.tags.find('again'), first.result_image_uuid ?? '');
});

test('importing again heals an image whose merged layer was damaged', async () => {
  await using bench = await openEngine({ importer: importer() });
  const { engine, store } = bench;
  const first = await finished(engine, (await engine.images.import({ registry: { url: URL } })).uuid);
  const image = first.result_image_uuid ?? '';
  const { layers } = store.images.get(image);
  const merged = await addLayer(store);
  store.stacks.replace(layers, [merged.digest]);
  await finished(engine, (await engine.images.import({ registry: { url: URL } })).uuid);
  assert.deepEqual(store.images.get(image).layers, [merged.digest], 'nothing to heal');
  await rm(store.layers.pathOf(merged.digest));
  await assert.rejects(store.layers.file(merged.digest), { code: 'STORE_CORRUPT' });
  const second = await finished(engine, (await engine.images.import({ registry: { url: URL } })).uuid);
  assert.equal(second.result_image_uuid, image);
  assert.deepEqual(store.images.get(image).layers, layers);
});

test('an import that fails says why and leaves nothing to see', async () => {
  const failing = importer({
    fromRegistry: async () => {
      throw fault('MANIFEST_NOT_FOUND', { reference: URL });
    },
  });
  await using bench = await openEngine({ importer: failing });
  const { uuid } = await bench.engine.images.import({ registry: { url: URL }, tag: 'thing:1' });
  const operation = await finished(bench.engine, uuid);
  assert.deepEqual([operation.status, operation.error_code], ['FAILED', 'MANIFEST_NOT_FOUND']);
  assert.equal(bench.store.tags.find('thing:1'), undefined);
  assert.equal(bench.store.images.count(), 1);
});

test('an import ends at its timeout and when it is cancelled', async () => {
  const endless = importer({
    fromRegistry: ({ url }, { progress }, signal) =>
      new Promise((_, reject) => {
        progress(`waiting for ${url}`);
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      }),
  });
  await using bench = await openEngine({ importer: endless });
  const { engine, store } = bench;
  const late = await engine.images.import({ registry: { url: URL }, timeout: 1 });
  const { status, error_code: code, error } = await finished(engine, late.uuid);
  assert.deepEqual([status, code, error], ['FAILED', 'TIMED_OUT', 'the import took longer than 1 s']);
  const cancelled = await engine.images.import({ registry: { url: URL } });
  await seen(engine, cancelled.uuid, ({ type }) => type === 'stdout');
  await engine.operations.cancel(cancelled.uuid);
  assert.equal((await finished(engine, cancelled.uuid)).status, 'CANCELLED');
  assert.deepEqual(await readdir(store.tmp), []);
});

test('credentials reach the importer and nothing else', async () => {
  let given: unknown;
  const nosy = importer({
    fromRegistry: async (registry, { store }) => {
      given = registry.credentials;
      return { layers: [(await addLayer(store)).digest], config: EMPTY_IMAGE_CONFIG };
    },
  });
  await using bench = await openEngine({ importer: nosy });
  const { engine } = bench;
  const credentials = { username: 'me', password: 'canary-password' };
  const url = 'docker://user:canary-userinfo@registry.example/x:1';
  const { uuid } = await engine.images.import({ registry: { url, credentials } });
  const operation = await finished(engine, uuid);
  assert.deepEqual(given, credentials);
  assert.deepEqual(operation.metadata, {
    registry: { url: 'docker://registry.example/x:1', credentials: { username: 'me', password: '<MASKED>' } },
    tag: null,
    timeout: 300,
  });
});

test('an archive is imported from an upload', async () => {
  await using bench = await openEngine({ importer: importer() });
  const { engine } = bench;
  await assert.rejects(engine.images.importArchive({ file: 'none' }), { code: 'UPLOAD_NOT_FOUND' });
  await assert.rejects(engine.images.import({ registry: { url: URL }, tag: 'Not a tag' }), { code: 'TAG_INVALID' });
  const { uuid: file } = await engine.uploads.create(once('an archive'));
  const operation = await finished(engine, (await engine.images.importArchive({ file, name: 'x.tar', tag: 'x' })).uuid);
  assert.equal(operation.status, 'SUCCESS');
  assert.ok('registry' in operation.metadata);
  assert.equal(operation.metadata.registry.url, 'archive:x.tar');
  // As in the hosted service the tag is that of the newer import.
  const { uuid: other } = await engine.uploads.create(once('another archive'));
  const newer = await finished(engine, (await engine.images.importArchive({ file: other, tag: 'x' })).uuid);
  assert.notEqual(newer.result_image_uuid, operation.result_image_uuid);
  assert.equal((await engine.images.get('tag:x')).uuid, newer.result_image_uuid);
});
