import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { fault } from '../../../src/contract/errors.ts';
import { DEFAULT_PROJECT } from '../../../src/contract/names.ts';
import type { ImageToAdopt } from '../../../src/engine/node/node.ts';
import { defined } from '../../../src/std/assert.ts';
import type { Layer } from '../../../src/store/layers.ts';
import type { FetchLayer } from '../../../src/store/shared/receive.ts';
import { faults } from '../../conformance/faults.ts';
import { aborted } from '../../../src/std/abort.ts';
import { collectEvents, finished, once, openEngine, run, script, seen } from '../bench.ts';

/** The node that makes things, and one that adopts them. */
const [origin, node] = [await openEngine(), await openEngine()];
after(async () => {
  await origin[Symbol.asyncDispose]();
  await node[Symbol.asyncDispose]();
});
const { signal } = new AbortController();
const fetched: string[] = [];
beforeEach(() => void fetched.splice(0));

/** Reads layers where they were made. */
const fetch: FetchLayer = ({ digest }) => {
  fetched.push(digest);
  return createReadStream(origin.store.layers.pathOf(digest));
};

/** Makes an image that adds a file of random bytes. */
async function made(parent = origin.base.uuid, bytes = 64 * 1024): Promise<string> {
  const { uuid } = await origin.engine.uploads.create(once(randomBytes(bytes)));
  const { result_image_uuid: image } = await run(
    origin.engine,
    script(origin, 'true', { image: parent, files: { '/data': { uuid } } }),
  );
  return image ?? '';
}

/** Describes an image as a catalogue would. */
function described(uuid: string): ImageToAdopt {
  const { images, layers } = origin.store;
  const facts = (id: string) => {
    const { config, createdAtMs, operation } = images.get(id);
    const { image } = images.lineage(id);
    const command = image.parent_uuid === null ? null : image.command;
    return {
      uuid: id,
      operation,
      command,
      exitCode: image.exit_code,
      layerBytes: image.layer_bytes,
      config,
      createdAtMs,
    };
  };
  const stack = images.get(uuid).layers.map((digest): Layer => defined(layers.find(digest), 'it is published'));
  const { ancestors } = images.lineage(uuid);
  return { ...facts(uuid), layers: stack, ancestors: ancestors.map((ancestor) => facts(ancestor.uuid)) };
}

const adopt = async (uuid: string, from = fetch, abort = signal): Promise<Disposable> =>
  node.engine.node.adoptImage(DEFAULT_PROJECT, described(uuid), from, abort);

/** Everything that an adoption that failed could have left. */
async function leftovers(): Promise<string[]> {
  const [layers, tmp] = [await readdir(join(node.directory, 'layers')), await readdir(join(node.directory, 'tmp'))];
  return [...layers.filter((name) => node.store.layers.find(name) === undefined), ...tmp];
}

test('an adopted image is the same as where it was made, and goes on from there', async () => {
  const middle = await made();
  const uuid = await made(middle);
  {
    using _pin = await adopt(uuid);
    assert.deepEqual(await node.engine.images.lineage(uuid), await origin.engine.images.lineage(uuid));
    assert.deepEqual(node.store.images.get(uuid), origin.store.images.get(uuid));
    const sizes = async (bench: typeof node): Promise<number> =>
      (await bench.engine.files.stat(uuid, { path: '/data' })).size;
    assert.equal(await sizes(node), await sizes(origin));
    const next = await run(node.engine, script(node, 'echo next > /next', { image: uuid }));
    assert.equal(next.status, 'SUCCESS', next.error ?? '');
    assert.equal((await node.engine.images.lineage(next.result_image_uuid ?? '')).image.parent_uuid, uuid);
  }
  assert.equal(node.engine.node.hasImage(DEFAULT_PROJECT, middle), false, 'its parent is only a row');
  await assert.rejects(node.engine.images.get(middle), faults('IMAGE_NOT_FOUND'));
  const before = fetched.length;
  using _pin = await adopt(middle);
  assert.equal(fetched.length, before, 'it has no other layers');
  assert.equal((await node.engine.images.get(middle)).uuid, middle);
});

test('those who want one image at the same time share the work, and one that gives up ends it for nobody else', async () => {
  const uuid = await made();
  const [started, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const slow: FetchLayer = async function* (layer, abort) {
    started.resolve();
    await released.promise;
    yield* fetch(layer, abort);
  };
  const impatient = new AbortController();
  const adoptions = [adopt(uuid, slow, impatient.signal), adopt(uuid, slow), adopt(uuid, slow)];
  await started.promise;
  impatient.abort(fault('TIMED_OUT', { what: 'the wait', seconds: 1 }));
  await assert.rejects(adoptions[0]!, faults('TIMED_OUT'));
  released.resolve();
  for (const adoption of adoptions.slice(1)) (await adoption)[Symbol.dispose]();
  assert.deepEqual(fetched.length, new Set(fetched).size, 'no layer twice');
});

test('an adoption that nobody wants any more ends and leaves nothing', async () => {
  const uuid = await made();
  const controller = new AbortController();
  const never: FetchLayer = async function* (_layer, abort) {
    yield Buffer.from('a beginning');
    controller.abort(fault('TIMED_OUT', { what: 'the wait', seconds: 1 }));
    await aborted(abort);
    abort.throwIfAborted();
  };
  await assert.rejects(adopt(uuid, never, controller.signal), faults('TIMED_OUT'));
  assert.deepEqual(await leftovers(), []);
  (await adopt(uuid))[Symbol.dispose]();
});

test('bytes that the digest does not name are never an image', async () => {
  const uuid = await made();
  const through = (change: (chunk: Buffer) => Buffer): FetchLayer =>
    async function* (layer, abort) {
      for await (const chunk of fetch(layer, abort)) yield change(Buffer.from(chunk));
    };
  const flipped = through((chunk) => {
    chunk[100] = (chunk[100] ?? 0) ^ 1;
    return chunk;
  });
  for (const wrong of [
    flipped,
    through((chunk) => Buffer.concat([chunk, Buffer.from('x')])),
    through((chunk) => chunk.subarray(1)),
    through(() => Buffer.alloc(0)),
  ]) {
    await assert.rejects(adopt(uuid, wrong), faults('OBJECT_DAMAGED'));
    assert.equal(node.engine.node.hasImage(DEFAULT_PROJECT, uuid), false);
    assert.deepEqual(await leftovers(), []);
  }
  const gone: FetchLayer = async function* ({ digest }) {
    yield Buffer.from('a beginning');
    throw fault('OBJECT_MISSING', { key: digest });
  };
  await assert.rejects(adopt(uuid, gone), faults('OBJECT_MISSING'));
  assert.deepEqual(await leftovers(), []);
  (await adopt(uuid))[Symbol.dispose]();
  await node.engine.files.stat(uuid, { path: '/data' });
});

test('a layer that was damaged here is fetched again', async () => {
  const uuid = await made();
  (await adopt(uuid))[Symbol.dispose]();
  const top = defined(node.store.images.get(uuid).layers.at(-1), 'an image has layers');
  const path = node.store.layers.pathOf(top);
  await chmod(path, 0o600);
  await writeFile(path, Buffer.alloc((await stat(path)).size));
  fetched.splice(0);
  (await adopt(uuid))[Symbol.dispose]();
  assert.deepEqual(fetched, [top]);
  await node.engine.files.stat(uuid, { path: '/data' });
});

test('the least recently used goes first; what is used, pinned or only here stays', async () => {
  const own = await run(node.engine, script(node, 'echo mine > /mine'));
  const [pinned, used, old, recent] = [await made(), await made(), await made(), await made()];
  using _pin = await adopt(pinned);
  for (const uuid of [used, old, recent]) (await adopt(uuid))[Symbol.dispose]();
  const running = await node.engine.runs.start(script(node, 'sleep 600', { image: used }));
  await seen(node.engine, running.uuid, ({ type }) => type === 'spawn');
  const here = (): boolean[] =>
    [pinned, used, old, recent].map((uuid) => node.engine.node.hasImage(DEFAULT_PROJECT, uuid));
  const { images } = await node.engine.node.evict(node.store.bytes() - 1);
  assert.ok(images >= 1);
  assert.equal(here()[3], true, 'one byte is freed by an older image');
  const { freedBytes } = await node.engine.node.evict(0);
  assert.ok(freedBytes > 0);
  assert.deepEqual(here(), [true, true, false, false]);
  assert.deepEqual(await leftovers(), []);
  await node.engine.operations.cancel(running.uuid);
  await finished(node.engine, running.uuid);
  await node.engine.node.ended(running.uuid);
  await node.engine.node.evict(0);
  assert.deepEqual(here(), [true, false, false, false]);
  assert.equal(node.engine.node.hasImage(DEFAULT_PROJECT, own.result_image_uuid ?? ''), true);
  await node.engine.files.stat(own.result_image_uuid ?? '', { path: '/mine' });
  (await adopt(recent))[Symbol.dispose]();
  await node.engine.files.stat(recent, { path: '/data' });
});

test('images that the catalogue has deleted are forgotten, unless something here uses them', async () => {
  const parent = await made();
  const child = await made(parent);
  (await adopt(child))[Symbol.dispose]();
  {
    using _pin = await adopt(parent);
    assert.deepEqual(node.engine.node.forgetImages([child, parent]), [parent]);
  }
  assert.deepEqual(node.engine.node.forgetImages([parent]), []);
  assert.equal(node.engine.node.hasImage(DEFAULT_PROJECT, child), false);
});

test('an operation of another node is adopted with its log, and stays what it was', async () => {
  const { uuid } = await run(origin.engine, script(origin, 'echo out; seq 1 5000; echo err >&2'));
  const log = await Array.fromAsync(origin.engine.node.exportLog(uuid));
  const stored = defined(origin.engine.node.operation(DEFAULT_PROJECT, uuid), 'it is there');
  const damaged = Buffer.concat(log).subarray(0, -20);
  const adoption = (chunks: readonly Uint8Array[]): Promise<void> =>
    node.engine.node.adoptOperation(
      DEFAULT_PROJECT,
      stored,
      async function* () {
        yield* chunks;
      },
      signal,
    );
  await assert.rejects(adoption([damaged]), faults('OBJECT_DAMAGED'));
  await assert.rejects(node.engine.operations.get(uuid), faults('OPERATION_NOT_FOUND'));
  await Promise.all([adoption(log), adoption(log)]);
  assert.deepEqual(await node.engine.operations.get(uuid), await origin.engine.operations.get(uuid));
  const events = async (bench: typeof node) => {
    const all = await collectEvents(bench.engine.operations.events(uuid, { follow: true }));
    // The time of the completion is that of the end, which its event follows.
    return all.map((event) => (event.type === 'completion' ? { ...event, ts: '' } : event));
  };
  assert.deepEqual(await events(node), await events(origin));
  await node.engine.system.gc({ older_than_days: 0 });
  await assert.rejects(node.engine.operations.get(uuid), faults('OPERATION_NOT_FOUND'));
  await adoption(log);
  assert.equal((await node.engine.operations.get(uuid)).status, 'SUCCESS');
});

test('a file is adopted under the UUID that the catalogue has, whatever this node called the same content', async () => {
  const contents = [Buffer.from('small'), randomBytes(2 * 1024 * 1024)];
  for (const bytes of contents) {
    const theirs = await origin.engine.uploads.create(once(bytes));
    const { created_at: createdAt, ...found } = await origin.engine.uploads.get(theirs.uuid);
    const times = { createdAtMs: Date.parse(createdAt), updatedAtMs: Date.parse(found.updated_at) };
    const file = { uuid: theirs.uuid, sha256: found.sha256, size: found.size, ...times };
    const adopted = async (from: () => AsyncIterable<Uint8Array>): Promise<Disposable> =>
      node.engine.node.adoptFile(DEFAULT_PROJECT, file, from, signal);
    await assert.rejects(
      adopted(() => once(Buffer.alloc(file.size))),
      faults('OBJECT_DAMAGED'),
    );
    await assert.rejects(node.engine.uploads.get(file.sha256), faults('UPLOAD_NOT_FOUND'));
    assert.deepEqual(await leftovers(), []);
    const ours = bytes.length < 100 ? await node.engine.uploads.create(once(bytes)) : undefined;
    (await adopted(() => once(bytes)))[Symbol.dispose]();
    const { updated_at: _, ...here } = await node.engine.uploads.get(theirs.uuid);
    assert.deepEqual(here, { ...theirs, created_at: createdAt });
    if (ours !== undefined) await assert.rejects(node.engine.uploads.get(ours.uuid), faults('UPLOAD_NOT_FOUND'));
  }
});

test('an end that this node recorded by itself gives way to the one that the catalogue has', async () => {
  const { uuid } = await run(origin.engine, script(origin, 'echo theirs'));
  const stored = defined(origin.engine.node.operation(DEFAULT_PROJECT, uuid), 'it is there');
  const tenant = node.engine.forTenant({ project: DEFAULT_PROJECT }, { operation: uuid });
  await tenant.runs.start(script(node, 'sleep 600'));
  await seen(node.engine, uuid, ({ type }) => type === 'spawn');
  node.engine.node.stop(uuid, fault('OBJECTS_UNAVAILABLE', { reason: 'the lease was lost' }));
  await node.engine.node.adoptOperation(DEFAULT_PROJECT, stored, () => origin.engine.node.exportLog(uuid), signal);
  assert.equal((await node.engine.operations.get(uuid)).status, 'SUCCESS');
});
