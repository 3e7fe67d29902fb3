import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { test } from 'node:test';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { limits } from '../../src/contract/limits.ts';
import { Database } from '../../src/store/database.ts';
import { APPLICATION_ID, MIGRATIONS } from '../../src/store/schema.ts';
import { Store } from '../../src/store/store.ts';
import { addImage, addLayer, body, openStore, scratch } from './bench.ts';

test('what one project has does not exist in another, by whatever name it is asked for', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const other = store.forProject('other');
  const image = await addImage(store);
  store.tags.set('base', image.uuid);
  const file = await store.files.write(body('content'));
  const { state } = await store.states.offer([{ path: '/x', sha256: file.sha256, mode: 0o644 }]);
  const operation = store.operations.create({ kind: 'instance', request: '{}' });
  assert.throws(() => other.images.get(image.uuid), { code: 'IMAGE_NOT_FOUND' });
  assert.throws(() => other.images.resolve('tag:base'), { code: 'IMAGE_NOT_FOUND', message: 'no image tag:base' });
  assert.throws(() => other.images.lineage(image.uuid), { code: 'IMAGE_NOT_FOUND' });
  assert.throws(() => other.images.delete(image.uuid, { cascade: true, usedBy: () => undefined }), {
    code: 'IMAGE_NOT_FOUND',
  });
  assert.throws(() => other.tags.remove('base'), { code: 'TAG_NOT_FOUND' });
  assert.equal(other.images.findRoot(image.layers, EMPTY_IMAGE_CONFIG), undefined);
  for (const id of [file.uuid, file.sha256]) assert.equal(other.files.find(id), undefined);
  assert.equal(other.files.isWhole(file.sha256), false);
  await assert.rejects(other.states.entries(state!.id), { code: 'DIRECTORY_STATE_NOT_FOUND' });
  assert.throws(() => other.operations.get(operation), { code: 'OPERATION_NOT_FOUND' });
  assert.deepEqual([other.images.list({}), other.files.list({}), other.operations.list({})], [[], [], []]);
  assert.deepEqual([other.operations.counts(), store.operationCounts()], [{}, { PENDING: 1 }]);
  other.tags.set('base', (await addImage(other)).uuid);
  assert.equal(store.tags.find('base'), image.uuid, 'a tag is a name within its project');
});

test('a layer is given for the name of its source only to the project that brought it in', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const other = store.forProject('other');
  const layer = await addLayer(store, 'private', 'oci:sha256:abc');
  store.imports.remember('sha256:abc linux/amd64', { layers: [layer.digest], config: EMPTY_IMAGE_CONFIG });
  assert.equal(other.layers.findBySource('oci:sha256:abc'), undefined);
  assert.equal(other.imports.find('sha256:abc linux/amd64'), undefined);
  const same = await addLayer(other, 'private', 'oci:sha256:abc');
  assert.equal(same.digest, layer.digest);
  assert.ok(other.layers.findBySource('oci:sha256:abc'));
  assert.deepEqual(await readdir(join(bench.directory, 'layers')), [layer.digest], 'its content is kept once');
});

test('gc keeps a content that another project still uses, and frees it with the last one', async () => {
  await using bench = await openStore();
  const { store } = bench;
  await store.files.write(body('shared'));
  const written = Date.now();
  while (Date.now() === written) await new Promise(setImmediate);
  const between = Date.now();
  const { sha256 } = await store.forProject('other').files.write(body('shared'));
  assert.deepEqual(store.files.usage(), { count: 1, bytes: 6 });
  const collect = (unusedSinceMs: number) => store.gc({ unusedSinceMs, dryRun: false, usedBy: () => undefined });
  const first = await collect(between);
  assert.deepEqual([first.files, first.freed_bytes, store.files.find(sha256)], [0, 0, undefined]);
  assert.ok(store.forProject('other').files.isWhole(sha256));
  const second = await collect(Date.now() + 1_000);
  assert.deepEqual([second.files, second.freed_bytes], [1, 6]);
  assert.deepEqual(await readdir(join(bench.directory, 'files')), []);
});

test('a content that turns out damaged is forgotten in every project', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const other = store.forProject('other');
  // Larger than what the database stores itself.
  const large = 'x'.repeat(limits.bulkFileBytesMax + 1);
  const { sha256 } = await store.files.write(body(large));
  await other.files.write(body(large));
  assert.deepEqual(await readdir(join(bench.directory, 'files')), [sha256], 'one file for both');
  await writeFile(join(bench.directory, 'files', sha256), 'torn');
  assert.equal(store.files.isWhole(sha256), false);
  assert.equal(other.files.find(sha256), undefined);
});

test('merged layers reach images of all projects', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const other = store.forProject('other');
  const [one, two] = [await addImage(store), await addLayer(store)];
  const above = other.images.create({ layers: [...one.layers, two.digest], config: EMPTY_IMAGE_CONFIG });
  const merged = await addLayer(store);
  store.stacks.replace(one.layers, [merged.digest]);
  assert.deepEqual(other.images.get(above.uuid).layers, [merged.digest, two.digest]);
});

/** Returns a store as left by the version before projects. */
async function oldStore(path: string): Promise<void> {
  const database = new DatabaseSync(join(path, 'store.sqlite'), { enableForeignKeyConstraints: true });
  for (const step of MIGRATIONS.slice(0, 3)) database.exec(step);
  const sha256 = createHash('sha256').update('old').digest('hex');
  database.exec(`
    PRAGMA application_id=${APPLICATION_ID};
    PRAGMA user_version=3;
    INSERT INTO layers VALUES ('${'a'.repeat(64)}', 4096, 1, '0', NULL, 1);
    INSERT INTO layer_sources VALUES ('oci:sha256:abc', '${'a'.repeat(64)}', 1);
    INSERT INTO images VALUES ('i1', NULL, NULL, NULL, NULL, NULL,
      '{"env":{},"cwd":"","user":"","entrypoint":[],"cmd":[],"labels":{}}', 'c', 1);
    INSERT INTO image_layers VALUES ('i1', 0, '${'a'.repeat(64)}');
    INSERT INTO tags VALUES (7, 'base', 'i1', 1);
    INSERT INTO files VALUES (3, '${sha256}', '6f9619ff-8b86-4d01-b42d-00cf4fc964ff', 3, 1, 1);
    INSERT INTO file_contents VALUES (3, x'6f6c64');
    INSERT INTO states VALUES ('s1', 1, 3, x'00', 1, 1);
    INSERT INTO state_files VALUES ('s1', 3);
    INSERT INTO operations (uuid, kind, status, request, created_at, finished_at)
      VALUES ('o1', 'instance', 'SUCCESS', '{}', 1, 2);
    INSERT INTO events VALUES ('o1', 0, 1, 0, 'stdout', NULL, 0, x'41');
    INSERT INTO imports VALUES ('sha256:abc linux/amd64', '["${'a'.repeat(64)}"]',
      '{"env":{},"cwd":"","user":"","entrypoint":[],"cmd":[],"labels":{}}', 1);
  `);
  database.close();
}

test('a store from before there were projects becomes the default one, whole', async () => {
  await using place = await scratch();
  await oldStore(place.path);
  await using store = await Store.open(place.path);
  assert.deepEqual(store.check(), []);
  assert.equal(store.project, 'default');
  assert.equal(store.images.resolve('tag:base').uuid, 'i1');
  assert.equal(store.layers.findBySource('oci:sha256:abc')?.bytes, 4096);
  assert.equal(store.files.find('6f9619ff-8b86-4d01-b42d-00cf4fc964ff')?.size, 3);
  const content = await Array.fromAsync(
    store.files.open('6f9619ff-8b86-4d01-b42d-00cf4fc964ff', AbortSignal.timeout(5_000)),
  );
  assert.equal(Buffer.concat(content).toString(), 'old');
  assert.ok(store.imports.find('sha256:abc linux/amd64'));
  assert.doesNotThrow(() => store.states.ensure('s1'));
  assert.deepEqual([store.operations.list({}).length, store.events.page('o1', -1).length], [1, 1]);
  assert.deepEqual(store.forProject('other').images.list({}), []);
  store.files.forget(store.files.list({})[0]?.sha256 ?? '');
  assert.throws(
    () => store.states.ensure('s1'),
    { code: 'DIRECTORY_STATE_NOT_FOUND' },
    'a state still needs its files',
  );
  store.tags.set('next', 'i1');
  assert.deepEqual(store.tags.of('i1'), ['next', 'base'], 'numbers go on where they were');
});

test('what a project writes at the same time shares a transaction, whichever request writes it', async (t) => {
  await using bench = await openStore();
  const { store } = bench;
  const transaction = t.mock.method(Database.prototype, 'transaction');
  const written = (project: string): Promise<unknown> =>
    Promise.all(
      Array.from({ length: 20 }, (_, index) => store.forProject(project).files.write(body(`${project} ${index}`))),
    );
  await written(store.project);
  const usual = transaction.mock.callCount();
  assert.ok(usual < 10, `${usual} transactions for 20 files`);
  await written('other');
  assert.equal(transaction.mock.callCount(), 2 * usual, 'another project has as few');
  assert.equal(store.forProject('other').files.list({}).length, 20);
});

test('only so many projects are kept, and one that was dropped in the middle of its work ends it', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const first = store.forProject('first');
  const writing = first.files.write(body('content'));
  for (let index = 0; index < 300; index += 1) store.forProject(`project-${index}`);
  assert.notEqual(store.forProject('first'), first);
  const { sha256 } = await writing;
  assert.ok(store.forProject('first').files.isWhole(sha256));
});
