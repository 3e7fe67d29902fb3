import assert from 'node:assert/strict';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { limits } from '../../../src/contract/limits.ts';
import { streamRepr } from '../../../src/contract/stream.ts';
import type { BootSpec } from '../../../src/sandbox/driver.ts';
import { LayerStore } from '../../../src/store/layers.ts';
import { CACHE_MOUNT } from '../../../src/store/gc/usage.ts';
import { listing } from '../../support/layers.ts';
import { loadCache } from '../../../src/engine/build/cache-mounts.ts';
import { bench, build, built, FILES, filesOf, layersBooted } from './bench.ts';

const SECRET = 'correct-horse-battery-staple-7319';
const secrets = [{ id: 's', content: streamRepr(Buffer.from(SECRET)) }];

/** Names of the files below the data directory that contain a text. */
async function filesWith(text: string): Promise<string[]> {
  const entries = await readdir(bench.directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const contents = await Promise.all(paths.map(async (path) => [path, await readFile(path, 'latin1')] as const));
  return contents.filter(([, content]) => content.includes(text)).map(([path]) => path);
}

test('a secret is stored nowhere: not in a layer, the log, the lineage or a key', async () => {
  const file = `FROM base
RUN --mount=type=secret,id=s mkdir -p /run /run/secrets && touch /run/secrets/s /one
RUN --mount=type=secret,id=s,env=PLAIN touch /two`;
  const { operation, events } = await build({ dockerfile_text: file, secrets });
  assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
  const spawned = events.filter((event) => event.type === 'spawn');
  assert.deepEqual(
    spawned.map(({ data }) => data.env?.['PLAIN']),
    [undefined, '<MASKED>'],
  );
  const image = operation.result?.image ?? '';
  assert.ok(!JSON.stringify([operation, events, bench.store.images.lineage(image)]).includes(SECRET));
  assert.deepEqual(await filesWith(SECRET), []);
  assert.deepEqual(await filesOf(image, '/run/secrets/s'), [], 'what is written over it is not kept either');
  assert.deepEqual((await filesOf(image)).filter((line) => /^\/(?:one|two) /u.test(line)).length, 2);
});

test('a secret is on no disk while its command runs, and in no file afterwards', async (context) => {
  const { driver } = bench;
  const { start } = driver;
  const found: (readonly [inLayer: string[], onDisk: string[]])[] = [];
  context.mock.method(driver, 'start', async (spec: BootSpec, signal: AbortSignal) => {
    const layers = spec.layers.slice(-1);
    found.push([(await listing(layers)).filter((line) => line.includes(SECRET)), await filesWith(SECRET)]);
    return start.call(driver, spec, signal);
  });
  const before = await readdir('/dev/shm');
  const file = 'FROM base\nRUN --mount=type=secret,id=s,uid=7,mode=0440 touch /of-memory';
  const { operation } = await build({ dockerfile_text: file, secrets });
  assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
  assert.deepEqual(found, [[[`/run/secrets/s 440 7:0 ${JSON.stringify(SECRET)}`], []]]);
  assert.deepEqual(await readdir('/dev/shm'), before, 'it has no name in memory either');
  const open = await readdir('/proc/self/fd');
  const targets = await Promise.all(open.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  assert.deepEqual(
    targets.filter((target) => target.startsWith('/dev/shm')),
    [],
  );
});

test('a cache is written again only when the command changed it', async (context) => {
  const publish = context.mock.method(LayerStore.prototype, 'publish');
  const written = async (command: string): Promise<number> => {
    publish.mock.resetCalls();
    await built(`FROM base\nRUN --mount=type=cache,target=/cache ${command}`, {}, { no_cache: true });
    return publish.mock.calls.filter(({ arguments: [, { source }] }) => source?.startsWith(CACHE_MOUNT)).length;
  };
  assert.equal(await written('touch /outside'), 0, 'an empty cache is not stored');
  assert.equal(await written('mkdir /cache && echo one > /cache/file'), 1);
  assert.equal(await written('mkdir /cache && touch /cache/file && rm /cache/file'), 0, 'only times have changed');
  assert.equal(await written('mkdir /cache && mkdir /cache/folder'), 1);
});

test('another value of a secret makes no step again, and another content that is bound does', async () => {
  const secret = 'FROM base\nRUN --mount=type=secret,id=s touch /same';
  const one = await built(secret, {}, { secrets });
  const two = await built(secret, {}, { secrets: [{ id: 's', content: streamRepr(Buffer.from('other')) }] });
  assert.equal(one.uuid, two.uuid);
  const bound = 'FROM base\nRUN --mount=type=bind,source=d,target=/m touch /bound';
  const first = await built(bound, FILES);
  assert.equal((await built(bound, { ...FILES, unrelated: 'x' })).uuid, first.uuid);
  assert.notEqual((await built(bound, { ...FILES, 'd/e/b.txt': 'B' })).uuid, first.uuid);
});

test('a long Dockerfile whose steps have many mounts never needs more layers than a sandbox mounts', async () => {
  const names = Array.from({ length: 10 }, (_, at) => `c${at}`);
  const caches = names.map((name) => `--mount=type=cache,target=/${name}`).join(' ');
  const mounts = `${caches} --mount=type=bind,source=d,target=/m --mount=type=secret,id=s`;
  const writes = (file: string): string =>
    names.map((name) => `mkdir /${name} && echo 1 > /${name}/${file}`).join(' && ');
  // As many layers as are never merged by themselves.
  const steps = Array.from({ length: 15 }, (_, at) => `RUN touch /f${at}`);
  const lines = ['FROM base', `RUN ${mounts} ${writes('x')}`, ...steps, `RUN ${mounts} ${writes('y')} && touch /end`];
  layersBooted.length = 0;
  const { uuid } = await built(lines.join('\n'), FILES, { secrets });
  assert.equal(layersBooted.length, 17);
  assert.ok(Math.max(...layersBooted) <= limits.layersMountedMax, String(layersBooted));
  assert.equal((await filesOf(uuid, '/f')).length, 15);
  assert.deepEqual(await filesOf(uuid, '/c7'), []);
  const { layer } = await loadCache(bench.store, { id: '/c7', path: 'c7' });
  assert.ok(layer);
  const kept = (await listing([layer])).filter((line) => line.startsWith('/c7/'));
  assert.deepEqual(kept, ['/c7/x 644 0:0 "1\\n"', '/c7/y 644 0:0 "1\\n"']);
});

test('a here-document that begins with #! is an executable file for the time of its command', async () => {
  const { operation, events } = await build({ dockerfile_text: 'FROM base\nRUN <<EOF\n#!/bin/none -x\nbody\nEOF' });
  const spawned = events.filter((event) => event.type === 'spawn');
  assert.deepEqual(
    spawned.map(({ data }) => [data.command, data.args]),
    [['/run/contree-script', []]],
  );
  assert.equal(operation.error_code, 'BUILD_FAILED', 'the fake guest runs no scripts');
});
