import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import { openObjects } from '../../src/cluster/objects/open.ts';
import { DEFAULT_PROJECT } from '../../src/contract/names.ts';
import type { Catalogue } from '../../src/engine/node/catalogue.ts';
import type { ImageToAdopt } from '../../src/engine/node/node.ts';
import { defined } from '../../src/std/assert.ts';
import type { FetchLayer } from '../../src/store/shared/receive.ts';
import { faults } from '../conformance/faults.ts';
import { once, openEngine, run, script } from '../engine/bench.ts';
import { FaultProxy } from './support/fault-proxy.ts';
import { Versitygw } from './support/versitygw.ts';

const gateway = await Versitygw.open();
const proxy = await FaultProxy.open(gateway.port);
const policy = { attempts: 3, pauseMs: 5, pauseMsMax: 20, idleMs: 20_000 };
const objects = await openObjects(gateway.address('', proxy.port), policy);
/** Catalogue that knows nothing but that layers have to be stored before an image is published. */
const catalogue: Catalogue = {
  begin: async () => undefined,
  publish: async ({ image }, signal) => {
    for (const { digest: sha256, bytes, path } of image?.made?.layers ?? []) {
      await objects.put({ key: `layers/${sha256}`, sha256, bytes, path }, signal);
    }
    return {};
  },
  resolve: async () => undefined,
};
const origin = await openEngine({ catalogue });
after(async () => {
  await origin[Symbol.asyncDispose]();
  objects[Symbol.dispose]();
  await proxy[Symbol.asyncDispose]();
  await gateway[Symbol.asyncDispose]();
});
const { signal } = new AbortController();
const MIB = 1024 * 1024;

/** Publishes an image with a file of random bytes, and describes it as a catalogue would. */
async function made(bytes: number): Promise<ImageToAdopt> {
  const { uuid } = await origin.engine.uploads.create(once(randomBytes(bytes)));
  const ended = await run(origin.engine, script(origin, 'true', { files: { '/data': { uuid } } }));
  const {
    layers,
    config,
    createdAtMs,
    operation,
    uuid: image,
  } = origin.store.images.get(ended.result_image_uuid ?? '');
  const facts = { command: 'true', exitCode: 0, layerBytes: bytes, config, createdAtMs };
  const root = { ...facts, uuid: origin.base.uuid, operation: null, command: null };
  const known = layers.map((digest) => defined(origin.store.layers.find(digest), 'it is published'));
  return { ...facts, uuid: image, operation, layers: known, ancestors: [root] };
}

/** Script of a node on a small disk; prints one JSON line. */
const SCRIPT = `
  import { readdirSync, rmSync, writeFileSync } from 'node:fs';
  import { openEngine } from ${module('../engine/bench.ts')};
  import { openObjects } from ${module('../../src/cluster/objects/open.ts')};
  const { images: [a, b, c], address } = JSON.parse(process.env.GIVEN);
  const objects = await openObjects(address);
  const bench = await openEngine();
  const { node, files } = bench.engine;
  const { signal } = new AbortController();
  const fetch = ({ digest, bytes }, signal) => objects.read({ key: 'layers/' + digest, sha256: digest, bytes }, signal);
  const adopt = (image, from = fetch) => node.adoptImage('default', image, from, signal);
  const code = (adoption) => adoption.then(() => 'adopted', ({ code }) => code);
  const here = () => [a, b, c].map(({ uuid }) => node.hasImage('default', uuid));
  const pin = await adopt(a);
  (await adopt(b))[Symbol.dispose]();
  (await adopt(c))[Symbol.dispose]();
  const evicted = here();
  let asked = false;
  const layers = [{ digest: '0'.repeat(64), bytes: 2 ** 30, entries: 1 }];
  const huge = await code(adopt({ ...b, layers, uuid: '0b6e2f0e-6c53-4c0f-9a38-7b6c1d0a0099' }, () => { asked = true; }));
  const ballast = bench.directory + '/ballast';
  const fill = () => {
    for (const bytes of [1 << 20, 1 << 12]) {
      try {
        for (;;) writeFileSync(ballast, Buffer.alloc(bytes), { flag: 'a' });
      } catch {}
    }
  };
  const filling = await code(adopt(b, async function* (layer, signal) {
    let first = true;
    for await (const chunk of fetch(layer, signal)) {
      if (first) fill();
      first = false;
      yield chunk;
    }
  }));
  const left = [readdirSync(bench.directory + '/tmp'), here()[1]];
  rmSync(ballast);
  (await adopt(b))[Symbol.dispose]();
  const sizes = await Promise.all([a, b].map(async ({ uuid }) => (await files.stat(uuid, { path: '/data' })).size));
  console.log(JSON.stringify({ evicted, huge, asked, filling, left, sizes }));
  pin[Symbol.dispose]();
  await bench[Symbol.asyncDispose]();
  objects[Symbol.dispose]();
`;

function module(path: string): string {
  return JSON.stringify(new URL(path, import.meta.url).href);
}

/** Runs the script with a file system of that size as its temporary directory, in a mount namespace of its own. Needs root. */
async function onSmallDisk(mebibytes: number, given: object): Promise<unknown> {
  const inside = `mount -t tmpfs -o size=${mebibytes}m tmpfs /mnt && exec "$0" "$@"`;
  const program = [process.execPath, '--input-type=module-typescript', '-e', SCRIPT];
  const child = spawn('unshare', ['-m', '/bin/sh', '-c', inside, ...program], {
    env: { ...process.env, TMPDIR: '/mnt', GIVEN: JSON.stringify(given) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const output = Buffer.concat(await Array.fromAsync(child.stdout as AsyncIterable<Buffer>)).toString();
  return JSON.parse(output);
}

test('a node whose disk is full evicts what it can, refuses what does not fit, and loses nothing', async () => {
  const images = [await made(24 * MIB), await made(24 * MIB), await made(24 * MIB)];
  // Room for two images besides the 64 MiB that stay free.
  assert.deepEqual(await onSmallDisk(136, { images, address: gateway.address() }), {
    evicted: [true, false, true],
    huge: 'DISK_FULL',
    asked: false,
    filling: 'DISK_FULL',
    left: [[], false],
    sizes: [24 * MIB, 24 * MIB],
  });
});

test('a node that is cut off from the storage publishes nothing, and goes on once it is back', async () => {
  await using node = await openEngine();
  const image = await made(MIB);
  const fetch: FetchLayer = ({ digest: sha256, bytes }, either) =>
    objects.read({ key: `layers/${sha256}`, sha256, bytes }, either);
  const adopt = async (): Promise<Disposable> => node.engine.node.adoptImage(DEFAULT_PROJECT, image, fetch, signal);
  const before = origin.store.images.count();
  proxy.fault = () => ({ cut: 'before' });
  const ended = await run(origin.engine, script(origin, 'echo x > /x'));
  assert.deepEqual([ended.status, ended.error_code, ended.result_image_uuid], ['FAILED', 'OBJECTS_UNAVAILABLE', null]);
  await assert.rejects(adopt(), faults('OBJECTS_UNAVAILABLE'));
  assert.equal(node.engine.node.hasImage(DEFAULT_PROJECT, image.uuid), false);
  assert.equal(origin.store.images.count(), before);
  proxy.fault = () => undefined;
  using _pin = await adopt();
  assert.equal((await node.engine.files.stat(image.uuid, { path: '/data' })).size, MIB);
  assert.equal((await run(origin.engine, script(origin, 'echo x > /x'))).status, 'SUCCESS');
});

test('a layer that the storage gives wrongly is no image anywhere, and is fetched again when it is asked for again', async () => {
  await using node = await openEngine();
  const image = await made(MIB);
  const fetch: FetchLayer = ({ digest: sha256, bytes }, either) =>
    objects.read({ key: `layers/${sha256}`, sha256, bytes }, either);
  const adopt = async (): Promise<Disposable> => node.engine.node.adoptImage(DEFAULT_PROJECT, image, fetch, signal);
  for (const wrong of [{ flip: 'answer' }, { bytes: 4096 }] as const) {
    proxy.fault = ({ method }) => (method === 'GET' ? wrong : undefined);
    await assert.rejects(adopt(), faults('OBJECT_DAMAGED'));
    await assert.rejects(node.engine.images.get(image.uuid), faults('IMAGE_NOT_FOUND'));
  }
  proxy.fault = () => undefined;
  using _pin = await adopt();
  assert.equal((await node.engine.files.stat(image.uuid, { path: '/data' })).size, MIB);
});
