import assert from 'node:assert/strict';
import { open, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import type { ConTree } from '../../src/contract/contree.ts';
import { addRoot, finished, once, openEngine, script } from './bench.ts';

const TIME = new Date('2026-01-01T00:00:00Z');

/** Flips one bit and sets the file's times, so that only reading it can tell. */
async function flipBit(path: string, time: Date, at: number): Promise<void> {
  await using file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ 1;
  await file.write(byte, 0, 1, at);
  await utimes(path, time, time);
}

async function failures(engine: ConTree): Promise<string[]> {
  const { checks } = await engine.system.doctor({ verify: true });
  return checks.filter(({ status }) => status === 'failed').map(({ name, detail }) => `${name}: ${detail}`);
}

async function passwd(engine: ConTree, image: string): Promise<string> {
  return text((await engine.files.read(image, { path: '/etc/passwd' })).body);
}

test('a bit that flipped is found and named, and nothing of its layer is served, cached trees included', async () => {
  await using bench = await openEngine();
  const { engine, store, base } = bench;
  const [layer = ''] = base.layers;
  const path = store.layers.pathOf(layer);
  // The original times, so that its metadata shows nothing.
  const { mtime } = await stat(path);
  assert.match(await passwd(engine, base.uuid), /^root/u);
  assert.deepEqual(await failures(engine), []);
  await flipBit(path, mtime, 2000);
  const found = await failures(engine);
  assert.equal(found.length, 1);
  assert.match(found[0] ?? '', new RegExp(`^layer ${layer}: its content has digest .*images ${base.uuid}`, 'u'));
  await assert.rejects(passwd(engine, base.uuid), { code: 'STORE_CORRUPT' });
  await assert.rejects(engine.files.list(base.uuid, { path: '/' }), { code: 'STORE_CORRUPT' });
  await assert.rejects(engine.images.diff(base.uuid, { to: base.uuid }), { code: 'STORE_CORRUPT' });
  await assert.rejects(engine.images.export(base.uuid), { code: 'STORE_CORRUPT' });
  const run = await finished(engine, (await engine.runs.start(script(bench, 'echo x'))).uuid);
  assert.equal(run.error_code, 'STORE_CORRUPT');
});

test('a layer that somebody wrote to is not served from what is open; a whole copy heals it', async () => {
  await using bench = await openEngine();
  const { engine, store, base } = bench;
  const path = store.layers.pathOf(base.layers[0] ?? '');
  const before = await passwd(engine, base.uuid);
  await utimes(path, TIME, TIME);
  assert.equal(await passwd(engine, base.uuid), before, 'touched, but whole');
  await flipBit(path, new Date('2026-02-02T00:00:00Z'), 2000);
  await assert.rejects(passwd(engine, base.uuid), { code: 'STORE_CORRUPT' });
  // The same content again, as an import would make it.
  await addRoot(store);
  assert.equal(await passwd(engine, base.uuid), before);
  assert.deepEqual(await failures(engine), []);
});

test('a damaged upload is found, named, and asked for again', async () => {
  await using bench = await openEngine();
  const { engine, directory } = bench;
  const large = Buffer.alloc(limits.bulkFileBytesMax + 1, 'large');
  const { uuid, sha256 } = await engine.uploads.create(once(large));
  assert.deepEqual(await failures(engine), []);
  await flipBit(join(directory, 'files', sha256), TIME, 5);
  assert.deepEqual(await failures(engine), [
    `upload ${sha256}: its content was not what its digest says, so it was dropped`,
  ]);
  await assert.rejects(engine.uploads.get(uuid), { code: 'UPLOAD_NOT_FOUND' });
  assert.equal((await engine.uploads.create(once(large))).sha256, sha256);
  assert.deepEqual(await failures(engine), []);
});
