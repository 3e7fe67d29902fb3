import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { exportLayout, type ExportRequest } from '../../../src/images/export/oci-layout.ts';
import { importImage, type ImportedImage } from '../../../src/images/import/import-image.ts';
import { openArchive } from '../../../src/images/import/archive/open.ts';
import { Scratch, listing } from '../../support/layers.ts';
import { FakeRegistry, sha256 } from '../../support/servers/registry.ts';
import { BASE, oddLayer, pull, requestFor, runTool } from './support.ts';
import { openStore, tarLayer } from '../import/support.ts';

const signal = AbortSignal.timeout(120_000);

async function write(path: string, source: AsyncIterable<Uint8Array>): Promise<void> {
  await writeFile(path, source);
}

interface Unpacked {
  readonly path: string;
  readonly type: string;
  readonly mtime: number;
}

/** Returns every path that umoci unpacks from a layout, with all its attributes. */
async function unpacked(scratch: Scratch, layout: string, name: string): Promise<Map<string, Unpacked>> {
  const bundle = scratch.path();
  await runTool('umoci', 'unpack', '--image', `${layout}:${name}`, bundle);
  const script = join(import.meta.dirname, '../../support/python/manifest.py');
  const lines = (await runTool('python3', script, join(bundle, 'rootfs'))).trim().split('\n');
  return new Map(lines.map((line) => JSON.parse(line) as Unpacked).map((entry) => [entry.path, entry]));
}

/**
 * Returns the differing paths, ignoring the times of directories in no layer, which umoci sets to the time of
 * unpacking.
 */
function differences(original: Map<string, Unpacked>, exported: Map<string, Unpacked>, sinceMs: number): string[] {
  return [...new Set([...original.keys(), ...exported.keys()])].filter((path) => {
    const [one, other] = [original.get(path), exported.get(path)];
    const undated = one?.type === 'directory' && one.mtime * 1000 >= sinceMs - 1000;
    const mtime = undated ? { mtime: 0 } : {};
    return !isDeepStrictEqual({ ...one, ...mtime }, { ...other, ...mtime });
  });
}

test('an exported image is the same to skopeo, umoci and our own import', async () => {
  const startedMs = Date.now();
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  await using scratch = await Scratch.create();
  const config = {
    config: { Env: ['A=b=c', 'PATH=/bin'], Cmd: ['sh'], User: '1:2', WorkingDir: '/etc', Labels: { l: 'v' } },
  };
  registry.addImage([BASE, await oddLayer(scratch)], { tag: '1', config });
  const imported = await pull(bench, `${registry.host}/app:1`);
  const archive = join(scratch.folder, 'export.tar');
  await write(archive, exportLayout({ ...(await requestFor(bench, imported)), name: 'exported' }, signal));

  const inspected = JSON.parse(await runTool('skopeo', 'inspect', '--config', `oci-archive:${archive}`)) as {
    config: Record<string, unknown>;
  };
  assert.deepEqual(inspected.config, config.config);
  const asDocker = JSON.parse(await runTool('skopeo', 'inspect', `docker-archive:${archive}`)) as { Env: string[] };
  assert.deepEqual(asDocker.Env, config.config.Env);

  const original = scratch.path();
  const source = `docker://${registry.host}/app:1`;
  await runTool(
    'skopeo',
    '--insecure-policy',
    'copy',
    '--quiet',
    '--src-tls-verify=false',
    source,
    `oci:${original}:original`,
  );
  const exported = scratch.path();
  await mkdir(exported);
  await runTool('tar', '-xf', archive, '-C', exported);
  const before = await unpacked(scratch, original, 'original');
  const after = await unpacked(scratch, exported, 'exported');
  assert.ok(before.size > 90, `${before.size} paths`);
  assert.deepEqual(differences(before, after, startedMs), []);

  const bytes = await readFile(archive);
  const upload = { path: archive, bytes: bytes.length, digest: sha256(bytes), name: 'x', tmp: bench.store.tmp };
  await using reopened = await openArchive(upload, signal);
  const again = await importImage(bench.store, reopened, () => undefined, signal);
  assert.deepEqual(again.config, imported.config);
  const list = async (image: ImportedImage) => listing(await bench.store.layers.files(image.layers));
  assert.deepEqual(await list(again), await list(imported));
});

test('exporting twice gives the same bytes', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  await using scratch = await Scratch.create();
  registry.addImage([BASE, await oddLayer(scratch), BASE], { tag: '1' });
  const request = await requestFor(bench, await pull(bench, `${registry.host}/app:1`));
  const digest = async () => {
    const hash = createHash('sha256');
    for await (const chunk of exportLayout(request, signal)) hash.update(chunk);
    return hash.digest('hex');
  };
  assert.equal(await digest(), await digest());
});

test('the lineage becomes history, one step with content for each layer', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  const layers = ['a', 'b', 'c', 'd'].map((path) => tarLayer([{ path, content: path }]));
  registry.addImage(layers, { tag: '1' });
  const request = await requestFor(bench, await pull(bench, `${registry.host}/app:1`));
  const lineage = [null, 'pip install x', 'make'].map((command, index) => ({
    uuid: `uuid-${index}`,
    createdAt: `2026-01-0${index + 1}T00:00:00Z`,
    command,
  }));
  const historyWith = async (files: ExportRequest['layers']) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of exportLayout({ ...request, layers: files, lineage }, signal)) chunks.push(chunk);
    await using scratch = await Scratch.create();
    const path = scratch.path();
    await writeFile(path, chunks);
    const text = await runTool('skopeo', 'inspect', '--config', `oci-archive:${path}`);
    const { history, created } = JSON.parse(text) as { history: Record<string, unknown>[]; created: string };
    assert.equal(created, '2026-01-03T00:00:00Z');
    return history.map(({ created_by: by, empty_layer: empty }) => `${String(by)}${empty === true ? ' (empty)' : ''}`);
  };
  assert.deepEqual(await historyWith(request.layers), ['import', 'import', 'pip install x', 'make']);
  assert.deepEqual(await historyWith(request.layers.slice(0, 3)), ['import', 'pip install x', 'make']);
  assert.deepEqual(await historyWith(request.layers.slice(0, 2)), ['import', 'pip install x (empty)', 'make']);
});
