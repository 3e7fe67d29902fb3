import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { isFault } from '../../src/contract/errors.ts';
import { collect } from '../../src/std/bytes.ts';
import { Store } from '../../src/store/store.ts';
import { addImage, addLayer, body, openStore, scratch } from './bench.ts';

test('a second store on the same directory is refused, also from another process', async () => {
  await using bench = await openStore();
  await assert.rejects(Store.open(bench.directory), (error) => isFault(error, 'STORE_LOCKED'));
  const script = `import { Store } from ${JSON.stringify(new URL('../../src/store/store.ts', import.meta.url).href)};
    try { await Store.open(process.argv[1]); console.log('opened'); } catch (error) { console.log(error.code, error.detail.pid); }`;
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ['--input-type=module-typescript', '-e', script, bench.directory]);
  assert.equal(stdout.trim(), `STORE_LOCKED ${process.pid}`);
});

test('the lock of a killed process is gone with it', async () => {
  await using place = await scratch();
  const script = `import { Store } from ${JSON.stringify(new URL('../../src/store/store.ts', import.meta.url).href)};
    await Store.open(process.argv[1]); process.kill(process.pid, 'SIGKILL');`;
  const run = promisify(execFile);
  await assert.rejects(run(process.execPath, ['--input-type=module-typescript', '-e', script, place.path]), {
    signal: 'SIGKILL',
  });
  assert.match(await readFile(join(place.path, 'lock'), 'utf8'), /^\d+\n$/u, 'the dead process left its note');
  await using store = await Store.open(place.path);
  assert.equal(store.images.count(), 0);
});

test('a newer format and a foreign database are refused and left as they are', async () => {
  for (const sql of ['PRAGMA user_version=999', 'CREATE TABLE other (x)']) {
    await using place = await scratch();
    await (await Store.open(place.path))[Symbol.asyncDispose]();
    const path = join(place.path, 'store.sqlite');
    const other = new DatabaseSync(sql.startsWith('PRAGMA') ? path : join(place.path, 'foreign.sqlite'));
    other.exec(sql);
    other.close();
    if (!sql.startsWith('PRAGMA')) {
      await writeFile(path, await readFile(join(place.path, 'foreign.sqlite')));
    }
    const before = await readFile(path);
    await assert.rejects(Store.open(place.path), (error) => isFault(error, 'STORE_VERSION_UNSUPPORTED'));
    assert.deepEqual(await readFile(path), before);
  }
});

test('a file that is not a database is reported as damaged', async () => {
  await using place = await scratch();
  await writeFile(join(place.path, 'store.sqlite'), 'x'.repeat(8192));
  await assert.rejects(Store.open(place.path), (error) => isFault(error, 'STORE_CORRUPT'));
});

test('a folder that something removed is made again, and only what was in it is missing', async () => {
  await using bench = await openStore();
  const { store, directory } = bench;
  const signal = AbortSignal.timeout(60_000);
  // More than the database stores itself.
  const large = 'x'.repeat(200_000);
  const [kept, gone] = [await addImage(store), await store.files.write(body(large))];
  await rm(join(directory, 'tmp'), { recursive: true });
  const written = await store.files.write(body(large, 'again'));
  assert.equal((await collect(store.files.open(written.uuid, signal), 1e6)).length, large.length + 5);
  await rm(join(directory, 'tmp'), { recursive: true });
  await addLayer(store);
  await rm(join(directory, 'tmp'), { recursive: true });
  const { files } = await store.gc({ unusedSinceMs: 0, dryRun: false, usedBy: () => undefined });
  assert.equal(files, 0);
  await rm(join(directory, 'files'), { recursive: true });
  await assert.rejects(collect(store.files.open(gone.uuid, signal), 1e6), (error) =>
    isFault(error, 'UPLOAD_NOT_FOUND'),
  );
  assert.equal((await store.files.write(body(large))).sha256, gone.sha256);
  assert.equal((await store.layers.file(kept.layers[0]!)).digest, kept.layers[0]);
  await rm(join(directory, 'layers'), { recursive: true });
  await assert.rejects(store.layers.file(kept.layers[0]!), (error) => isFault(error, 'STORE_CORRUPT'));
  await addLayer(store);

  // Half of an upload, and the whole data directory.
  async function* cut(path: string): AsyncIterable<Uint8Array> {
    yield Buffer.from(large);
    await rm(path, { recursive: true });
    yield Buffer.from(large);
  }
  for (const path of [join(directory, 'tmp'), directory]) {
    await assert.rejects(store.files.write(cut(path)), (error) => isFault(error, 'STORE_CORRUPT'), path);
  }
  await assert.rejects(addLayer(store), (error) => isFault(error, 'STORE_CORRUPT'));
});

test('open empties tmp and keeps what was published', async () => {
  await using place = await scratch();
  const first = await Store.open(place.path);
  const image = await addImage(first);
  await writeFile(first.layers.stage().path, 'half a layer');
  await first[Symbol.asyncDispose]();
  await using second = await Store.open(place.path);
  assert.deepEqual(await readdir(second.tmp), []);
  assert.deepEqual(second.images.get(image.uuid), image);
  assert.equal((await second.layers.file(image.layers[0]!)).bytes, 4096);
});

test('a transaction is all or nothing, events included', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const uuid = store.operations.create({ kind: 'instance', request: '{}' });
  const end = {
    status: 'SUCCESS',
    duration_ms: 1,
    result_image_uuid: null,
    error: null,
    image_size_bytes: null,
  } as const;
  const attempt = (fail: boolean): void =>
    store.transaction(() => {
      store.operations.finish(uuid, { status: 'SUCCESS' });
      store.events.append(uuid, 0, 'completion', end);
      if (fail) throw new Error('planted');
    });
  assert.throws(() => attempt(true), /planted/u);
  assert.equal(store.operations.get(uuid).status, 'PENDING');
  assert.deepEqual(store.events.page(uuid, -1), []);
  attempt(false);
  assert.equal(store.operations.get(uuid).status, 'SUCCESS');
  assert.deepEqual(
    store.events.page(uuid, -1).map(({ id, type }) => [id, type]),
    [[0, 'completion']],
  );
});

test('a place that cannot be a data directory is named as such', async () => {
  await using place = await scratch();
  const file = join(place.path, 'file');
  await writeFile(file, '');
  await assert.rejects(Store.open(join(file, 'data')), (error) => isFault(error, 'CONFIG_INVALID'));
});
