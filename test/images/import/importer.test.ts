import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { imageImporter, type ImporterOptions } from '../../../src/images/import/importer.ts';
import { progressLines } from '../../../src/images/import/progress.ts';
import { CredentialStore } from '../../../src/registry/auth/credential-store.ts';
import { PLATFORM } from '../../registry/support.ts';
import { FakeRegistry, status, wantsToken } from '../../support/servers/registry.ts';
import { streamOf, tarOf } from '../../support/tar.ts';
import { openStore, tarLayer } from './support.ts';

const signal = AbortSignal.timeout(30_000);
const LAYERS = [tarLayer([{ path: 'a', content: 'a' }]), tarLayer([{ path: 'b', content: 'b' }])];
const silent = () => undefined;

function importer(options: Partial<ImporterOptions> = {}) {
  const registries = { wait: async () => undefined };
  return imageImporter({ registries, credentials: {}, platform: PLATFORM, ...options });
}

test('fromRegistry imports and tells how far it is', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  registry.addImage(LAYERS, { tag: '1' });
  const lines: string[] = [];
  const context = { store: bench.store, progress: (line: string) => void lines.push(line), privateByName: true };
  const imported = await importer().fromRegistry({ url: `docker://${registry.host}/app:1` }, context, signal);
  assert.deepEqual(await bench.contents(imported.layers), { a: 'a', b: 'b' });
  assert.equal(lines[0], `resolving docker://${registry.host}/app:1 for linux/amd64`);
  assert.match(lines.at(-1) ?? '', /^layers 2\/2, 0\.0 of 0\.0 MB$/u);
});

test('an unchanged image costs one HEAD, from another tag as well', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const { digest } = registry.addImage(LAYERS, { tag: '1' });
  registry.addImage(LAYERS, { tag: '2' });
  const subject = importer();
  const context = { store: bench.store, progress: silent, privateByName: true };
  const bring = (tag: string) => subject.fromRegistry({ url: `${registry.host}/app:${tag}` }, context, signal);
  const first = await bring('1');
  registry.seen.length = 0;
  assert.deepEqual(await bring('1'), first);
  assert.deepEqual((await bring('2')).layers, first.layers);
  assert.deepEqual(registry.log, ['HEAD /v2/app/manifests/1', 'HEAD /v2/app/manifests/2']);

  registry.seen.length = 0;
  // As after a restart of the engine: the store remembers.
  assert.deepEqual(await importer().fromRegistry({ url: `${registry.host}/app:1` }, context, signal), first);
  assert.deepEqual(registry.log, ['HEAD /v2/app/manifests/1']);

  registry.on(/manifests/u, status(403));
  const pinned = subject.fromRegistry({ url: `${registry.host}/app@${digest}` }, context, signal);
  await assert.rejects(pinned, { code: 'REGISTRY_DENIED' }, 'what is known is still asked for');
});

test('importing again heals a layer that was damaged on the disk', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  registry.addImage(LAYERS, { tag: '1' });
  const subject = importer();
  const context = { store: bench.store, progress: silent, privateByName: true };
  const bring = () => subject.fromRegistry({ url: `${registry.host}/app:1` }, context, signal);
  const before = await bring();
  const path = bench.store.layers.pathOf(before.layers[0] ?? '');
  await chmod(path, 0o644);
  await writeFile(path, Buffer.alloc(4096, 7));
  const after = await bring();
  assert.deepEqual(after.layers, before.layers);
  assert.deepEqual(await bench.contents(after.layers), { a: 'a', b: 'b' });
});

test('a layer in whose place there is a folder, a pipe or nothing is damaged, and importing again heals it (I15)', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  registry.addImage(LAYERS, { tag: '1' });
  const context = { store: bench.store, progress: silent, privateByName: true };
  const bring = () => importer().fromRegistry({ url: `${registry.host}/app:1` }, context, signal);
  const { layers } = await bring();
  const [digest = ''] = layers;
  const path = bench.store.layers.pathOf(digest);
  const { size } = await stat(path);
  const folder = async () => {
    await mkdir(path);
    await writeFile(join(path, 'left'), Buffer.alloc(10));
  };
  const makers: Readonly<Record<string, () => Promise<unknown>>> = {
    'an empty folder': () => mkdir(path),
    'a folder': folder,
    'a pipe': () => promisify(execFile)('mkfifo', [path]),
    nothing: async () => undefined,
    'another file': () => writeFile(path, Buffer.alloc(size)),
  };
  for (const [what, make] of Object.entries(makers)) {
    await rm(path, { recursive: true, force: true });
    await make();
    await assert.rejects(
      bench.store.layers.file(digest),
      { code: 'STORE_CORRUPT', message: new RegExp(digest, 'u') },
      what,
    );
    assert.deepEqual((await bring()).layers, layers, what);
    assert.deepEqual(await bench.contents(layers), { a: 'a', b: 'b' }, what);
  }
});

test('an image whose layers were merged is unchanged as long as it is whole', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const { store } = bench;
  registry.addImage(LAYERS, { tag: '1' });
  const context = { store, progress: silent, privateByName: true };
  const bring = () => importer().fromRegistry({ url: `${registry.host}/app:1` }, context, signal);
  const first = await bring();
  const { uuid } = store.images.create({ layers: first.layers, config: first.config });
  store.stacks.replace(first.layers, first.layers.slice(0, 1));
  await store.gc({ unusedSinceMs: Date.now(), dryRun: false, usedBy: () => undefined });
  registry.seen.length = 0;
  const again = await bring();
  assert.deepEqual(registry.log, ['HEAD /v2/app/manifests/1']);
  assert.equal(store.images.findRoot(again.layers, again.config)?.uuid, uuid);
  store.images.delete(uuid, { cascade: false, usedBy: () => undefined });
  assert.deepEqual(await bench.contents((await bring()).layers), { a: 'a', b: 'b' }, 'gone: imported anew');
});

test('a tag that has moved is imported anew', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const subject = importer();
  const context = { store: bench.store, progress: silent, privateByName: true };
  const bring = () => subject.fromRegistry({ url: `${registry.host}/app:1` }, context, signal);
  registry.addImage(LAYERS.slice(0, 1), { tag: '1' });
  const before = await bring();
  registry.addImage(LAYERS, { tag: '1' });
  const after = await bring();
  assert.deepEqual(after.layers.slice(0, 1), before.layers);
  assert.equal(after.layers.length, 2);
});

test('a secret is used and then found nowhere', async () => {
  const canary = 'canary-7c1e';
  const basic = `Basic ${Buffer.from(`me:${canary}`).toString('base64')}`;
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const home = await mkdtemp(join(tmpdir(), 'contree-home-'));
  try {
    registry.addImage(LAYERS, { tag: '1' });
    registry.on(/ \/token/u, (request, response) => {
      response.writeHead(request.headers.authorization === basic ? 200 : 401).end('{"token":"bearer-canary-7c1e"}');
    });
    registry.on(/ \/v2\//u, wantsToken(registry, 'bearer-canary-7c1e'));
    const storePath = join(home, 'registries.json');
    await new CredentialStore(storePath).set(registry.host, { username: 'me', password: canary });
    const lines: string[] = [];
    const context = { store: bench.store, progress: (line: string) => void lines.push(line), privateByName: true };
    const url = `${registry.host}/team/app:1`;
    const subject = importer({ credentials: { storePath } });
    const imported = await subject.fromRegistry({ url }, context, signal);
    assert.ok(!`${lines.join('\n')}${JSON.stringify(imported)}`.includes('canary'));
    for (const name of await readdir(bench.store.directory, { recursive: true, withFileTypes: true })) {
      if (!name.isFile()) continue;
      const bytes = await readFile(join(name.parentPath, name.name));
      assert.ok(!bytes.includes('canary'), name.name);
    }
    const given = (password: string, username = 'me') => ({ url, credentials: { username, password } });
    for (const request of [given('canary-wrong'), given('', '')]) {
      await assert.rejects(subject.fromRegistry(request, context, signal), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'REGISTRY_DENIED');
        return !`${error.stack}${JSON.stringify(error)}${String(error.cause)}`.includes('canary');
      });
    }
  } finally {
    await rm(home, { recursive: true });
  }
});

test('fromArchive imports an upload, and says when it is gone', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const upload = async (content: string): Promise<{ uuid: string; sha256: string }> =>
    await store.files.write(
      streamOf(
        tarOf([
          { path: 'etc/', flag: '5' },
          { path: 'etc/x', content },
        ]),
      ),
    );
  const { uuid } = await upload('x');
  const lines: string[] = [];
  const context = { store, progress: (line: string) => void lines.push(line), privateByName: true };
  const imported = await importer().fromArchive({ file: uuid, name: 'root.tar' }, context, signal);
  assert.deepEqual(await bench.contents(imported.layers), { etc: 'directory', 'etc/x': 'x' });
  assert.equal(imported.reference, 'root.tar');
  assert.equal(lines[0], 'reading root.tar');
  const large = await upload('x'.repeat(200_000));
  await importer().fromArchive({ file: large.uuid }, context, signal);
  await writeFile(await store.files.asFile(large.sha256), 'torn');
  await assert.rejects(importer().fromArchive({ file: large.uuid }, context, signal), { code: 'UPLOAD_NOT_FOUND' });
  await assert.rejects(importer().fromArchive({ file: large.sha256 }, context, signal), { code: 'UPLOAD_NOT_FOUND' });
});

test('progressLines speaks once a second, and at once when a layer is done', () => {
  const lines: string[] = [];
  let nowMs = 0;
  const report = progressLines(
    (line) => void lines.push(line),
    () => nowMs,
  );
  const step = (layersDone: number, bytesDone: number) =>
    report({ layers_done: layersDone, layers_total: 2, done_bytes: bytesDone, total_bytes: 2_500_000 });
  step(0, 0);
  step(0, 100_000);
  nowMs = 1_000;
  step(0, 200_000);
  step(0, 300_000);
  step(1, 1_000_000);
  assert.deepEqual(lines, ['layers 0/2, 0.0 of 2.5 MB', 'layers 0/2, 0.2 of 2.5 MB', 'layers 1/2, 1.0 of 2.5 MB']);
  report({ layers_done: 2, layers_total: 2, done_bytes: 0, total_bytes: 0 });
  assert.equal(lines.at(-1), 'layers 2/2, nothing to transfer');
});
