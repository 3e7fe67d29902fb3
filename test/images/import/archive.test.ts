import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { limits } from '../../../src/contract/limits.ts';
import { importImage, type ImportedImage } from '../../../src/images/import/import-image.ts';
import { openArchive } from '../../../src/images/import/archive/open.ts';
import { PLATFORM } from '../../registry/support.ts';
import { FakeRegistry, imageConfig, json, OCI, sha256, type TestLayer } from '../../support/servers/registry.ts';
import { Scratch } from '../../support/layers.ts';
import { memberOf, type TarMember, tarOf } from '../../support/tar.ts';
import { openStore, tarLayer, type TestStore } from './support.ts';
import { startCpuWatch } from '../../support/time/stopwatch.ts';

const signal = AbortSignal.timeout(60_000);
const BASE = tarLayer([
  { path: 'a', content: 'base' },
  { path: 'b', flag: '5', mode: 0o755 },
]);
const TOP = tarLayer([{ path: 'b/c', content: 'top' }, { path: '.wh.a' }]);
const MERGED = { b: 'directory', 'b/c': 'top' };

async function bring({ store }: TestStore, path: string, reference?: string): Promise<ImportedImage> {
  const bytes = await readFile(path);
  const source = { path, bytes: bytes.length, digest: sha256(bytes), name: 'upload.tar', reference, tmp: store.tmp };
  await using image = await openArchive({ ...source, platform: PLATFORM }, signal);
  return await importImage(store, image, () => undefined, signal);
}

async function bringBytes(bench: TestStore, bytes: Uint8Array, reference?: string): Promise<ImportedImage> {
  await using scratch = await Scratch.create();
  const path = scratch.path();
  await writeFile(path, bytes);
  return await bring(bench, path, reference);
}

interface LayoutOptions {
  readonly layers?: readonly TestLayer[];
  readonly names?: readonly (string | undefined)[];
  readonly config?: Readonly<Record<string, unknown>>;
  /** Changes the members before they are packed. */
  readonly change?: (members: Map<string, Buffer>) => void;
}

/** An OCI layout as tar, with the same image under each name. */
function layoutTar({ layers = [BASE, TOP], names = ['app:1'], config = {}, change }: LayoutOptions = {}): Buffer {
  const members = new Map<string, Buffer>();
  const add = (bytes: Buffer, mediaType: string) => {
    members.set(`blobs/sha256/${sha256(bytes).slice(7)}`, bytes);
    return { mediaType, digest: sha256(bytes), size: bytes.length };
  };
  const manifests = names.map((name, index) => {
    const manifest = json({
      schemaVersion: 2,
      mediaType: OCI.manifest,
      config: add(json(imageConfig(layers, { ...config, author: `author ${index}` })), OCI.config),
      layers: layers.map(({ bytes, mediaType }) => add(bytes, mediaType)),
    });
    const annotations = name === undefined ? undefined : { 'org.opencontainers.image.ref.name': name };
    return { ...add(manifest, OCI.manifest), annotations };
  });
  members.set('oci-layout', json({ imageLayoutVersion: '1.0.0' }));
  members.set('index.json', json({ schemaVersion: 2, manifests }));
  change?.(members);
  return tarOf([...members].map(([path, content]) => ({ path, content })));
}

/** An archive as written by `docker save`. */
function dockerTar(change: (members: TarMember[]) => TarMember[] = (members) => members): Buffer {
  const id = (layer: TestLayer) => layer.diffId.slice(7);
  const plain = [BASE, TOP].map((layer) => ({ ...layer, tar: tarOf(layer === BASE ? BASE_MEMBERS : TOP_MEMBERS) }));
  const config = json(imageConfig([BASE, TOP]));
  const manifest = [
    {
      Config: `${sha256(config).slice(7)}.json`,
      RepoTags: ['app:1', 'ghcr.io/a/b:2'],
      Layers: plain.map((layer) => `${id(layer)}/layer.tar`),
    },
  ];
  return tarOf(
    change([
      ...plain.flatMap((layer) => [
        { path: `${id(layer)}/`, flag: '5' },
        { path: `${id(layer)}/VERSION`, content: '1.0' },
        { path: `${id(layer)}/layer.tar`, content: layer.tar },
      ]),
      { path: `${sha256(config).slice(7)}.json`, content: config },
      { path: 'manifest.json', content: json(manifest) },
    ]),
  );
}

const BASE_MEMBERS: readonly TarMember[] = [
  { path: 'a', content: 'base' },
  { path: 'b', flag: '5', mode: 0o755 },
];
const TOP_MEMBERS: readonly TarMember[] = [{ path: 'b/c', content: 'top' }, { path: '.wh.a' }];

test('an OCI layout is imported: plain, gzip and zstd', async () => {
  for (const pack of [(tar: Buffer) => tar, gzipSync, zstdCompressSync]) {
    await using bench = await openStore();
    const imported = await bringBytes(bench, pack(layoutTar({ config: { config: { WorkingDir: '/b' } } })));
    assert.deepEqual(await bench.contents(imported.layers), MERGED);
    assert.equal(imported.config.cwd, '/b');
    assert.equal(imported.reference, 'app:1');
    assert.deepEqual(await bench.leftovers(), []);
  }
});

test('a docker save archive is imported: plain, gzip and zstd', async () => {
  for (const pack of [(tar: Buffer) => tar, gzipSync, zstdCompressSync]) {
    await using bench = await openStore();
    const imported = await bringBytes(bench, pack(dockerTar()));
    assert.deepEqual(await bench.contents(imported.layers), MERGED);
    assert.equal(imported.reference, 'app:1');
    assert.deepEqual(await bench.leftovers(), []);
  }
});

test('a root filesystem is imported: plain, gzip and zstd', async () => {
  for (const [pack, paths] of [
    [(tar: Buffer) => tar, ['./', './etc/', './etc/os-release']],
    [gzipSync, ['etc/', 'etc/os-release']],
    [zstdCompressSync, ['./etc/', './etc/os-release', 'manifest.json', 'index.json', 'oci-layout']],
  ] as const) {
    await using bench = await openStore();
    const members = paths.map((path) => (path.endsWith('/') ? { path, flag: '5' } : { path, content: 'x' }));
    const imported = await bringBytes(bench, pack(tarOf(members)));
    assert.equal((await bench.contents(imported.layers))['etc/os-release'], 'x');
    assert.equal(imported.layers.length, 1);
    assert.equal(imported.reference, 'upload.tar');
    const again = await bringBytes(bench, pack(tarOf(members)));
    assert.deepEqual(again.layers, imported.layers);
    assert.deepEqual(await bench.leftovers(), []);
  }
});

test('archives that skopeo writes hold the image that the registry has', async () => {
  await using registry = await FakeRegistry.start();
  await using bench = await openStore();
  await using scratch = await Scratch.create();
  registry.addImage([BASE, TOP], { tag: '1', config: { config: { Env: ['A=b'] } } });
  for (const transport of ['oci-archive', 'docker-archive']) {
    const path = join(scratch.folder, `${transport}.tar`);
    const name = transport === 'docker-archive' ? `${path}:docker.io/library/app:1` : `${path}:app-1`;
    await promisify(execFile)('skopeo', [
      '--insecure-policy',
      'copy',
      '--quiet',
      '--src-tls-verify=false',
      `docker://${registry.host}/app:1`,
      `${transport}:${name}`,
    ]);
    const imported = await bring(bench, path, transport === 'docker-archive' ? 'app:1' : undefined);
    assert.deepEqual(await bench.contents(imported.layers), MERGED, transport);
    assert.deepEqual(imported.config.env, { A: 'b' });
  }
});

test('an image archive is recognized by what it holds, in whatever order (I12)', async () => {
  await using bench = await openStore();
  const config = json(imageConfig([BASE, TOP]));
  const layers = [BASE, TOP].map((layer, at) => ({ path: `layer${at}.tar.gz`, content: layer.bytes }));
  const manifest = [{ Config: 'config.json', RepoTags: null, Layers: layers.map(({ path }) => path) }];
  const members: readonly TarMember[] = [
    { path: 'config.json', content: config },
    ...layers,
    { path: 'manifest.json', content: json(manifest) },
  ];
  const layout = (first: readonly TarMember[]): Buffer =>
    Buffer.concat([...first.map((one) => memberOf(one)), layoutTar()]);
  const readme = { path: 'README.md', content: 'an image' };
  const repository = [
    { path: '.git/', flag: '5', mode: 0o755 },
    { path: '.git/HEAD', content: 'ref: refs/heads/main' },
  ];
  for (const archive of [
    tarOf(members),
    tarOf(members.toReversed()),
    tarOf([readme, ...repository, ...members]),
    gzipSync(tarOf(members)),
    layout([readme]),
    layout(repository),
    gzipSync(layout([...repository, readme])),
  ]) {
    assert.deepEqual(await bench.contents((await bringBytes(bench, archive)).layers), MERGED);
  }
});

test('a root filesystem may hold files that are called as those of an image archive (I12)', async () => {
  await using bench = await openStore();
  const called = [
    { path: 'manifest.json', content: '{"name":"a web app"}' },
    { path: 'index.json', content: '[]' },
  ];
  for (const members of [
    [...called, { path: 'app', content: 'x' }],
    [...called, { path: 'usr/', flag: '5', mode: 0o755 }, { path: 'oci-layout', content: '{}' }],
  ]) {
    const { layers } = await bringBytes(bench, tarOf(members));
    assert.ok('manifest.json' in (await bench.contents(layers)));
  }
});

test('one image of several is chosen by its name', async () => {
  await using bench = await openStore();
  const several = layoutTar({ names: ['one', 'docker.io/library/app:2'] });
  assert.equal((await bringBytes(bench, several, 'one')).reference, 'one');
  assert.equal((await bringBytes(bench, several, 'app:2')).reference, 'docker.io/library/app:2');
  await assert.rejects(bringBytes(bench, several), {
    code: 'ARCHIVE_INVALID',
    message: /several images; select one of one, docker\.io\/library\/app:2/u,
  });
  await assert.rejects(bringBytes(bench, several, 'three'), {
    code: 'ARCHIVE_INVALID',
    message: /no image three, only one, docker/u,
  });
  await assert.rejects(bringBytes(bench, layoutTar({ names: [] })), { code: 'ARCHIVE_INVALID', message: /no image/u });
  const unnamed = layoutTar({ names: [undefined, undefined] });
  await assert.rejects(bringBytes(bench, unnamed), { code: 'ARCHIVE_INVALID', message: /without names/u });
  assert.equal((await bringBytes(bench, dockerTar(), 'ghcr.io/a/b:2')).reference, 'app:1');
});

test('a layer that occurs twice may be a link', async () => {
  await using bench = await openStore();
  const plain = tarOf(BASE_MEMBERS);
  const config = json(imageConfig([BASE, BASE]));
  const [one, two] = ['1'.repeat(64), '2'.repeat(64)];
  const manifest = [{ Config: 'config', RepoTags: null, Layers: [`${one}/layer.tar`, `${two}/layer.tar`] }];
  const link = { path: `${two}/layer.tar`, flag: '2', linkname: `../${one}/layer.tar` };
  const members = [
    { path: `${one}/layer.tar`, content: plain },
    link,
    { path: 'config', content: config },
    { path: 'manifest.json', content: json(manifest) },
  ];
  const imported = await bringBytes(bench, tarOf(members));
  assert.equal(imported.layers.length, 2);
  const loop = [{ ...link, linkname: 'layer.tar' }, ...members.filter((member) => member !== link)];
  await assert.rejects(bringBytes(bench, tarOf(loop)), { code: 'ARCHIVE_INVALID', message: /lacks layer 2/u });
  const outside = [{ ...link, linkname: '../../../../etc/passwd' }, ...members.filter((member) => member !== link)];
  await assert.rejects(bringBytes(bench, tarOf(outside)), { code: 'ARCHIVE_INVALID', message: /lacks layer 2/u });
});

test('a file that is not an archive is refused with the reason', async () => {
  await using bench = await openStore();
  const cases: readonly (readonly [string, Buffer, RegExp])[] = [
    ['nothing', Buffer.alloc(0), /empty/u],
    ['text', Buffer.from('hello '.repeat(300)), /not a tar file/u],
    ['zip', Buffer.from('504b0304'.repeat(300), 'hex'), /not a tar file/u],
    ['damaged gzip', Buffer.from('1f8b0800ffffffff'.repeat(300), 'hex'), /not a tar file/u],
    ['empty tar', tarOf([]), /empty/u],
    ['cut off', layoutTar().subarray(0, -5_000), /truncated/u],
    ['cut off gzip', gzipSync(layoutTar()).subarray(0, -200), /compressed data/u],
    ['layout without index', layoutTar({ change: (members) => members.delete('index.json') }), /neither/u],
    ['no json', layoutTar({ change: (members) => members.set('index.json', Buffer.from('{')) }), /not JSON/u],
    ['other version', layoutTar({ change: (m) => m.set('oci-layout', json({ imageLayoutVersion: '2' })) }), /version/u],
    ['docker nonsense', tarOf([{ path: 'manifest.json', content: '[{}]' }]), /not understood/u],
    ['docker nothing', tarOf([{ path: 'manifest.json', content: '[]' }]), /no image/u],
  ];
  for (const [what, bytes, reason] of cases) {
    await assert.rejects(bringBytes(bench, bytes), { code: 'ARCHIVE_INVALID', message: reason }, what);
    assert.deepEqual(await bench.leftovers(), [], what);
  }
});

test('blobs of an archive must be those that its manifest names', async () => {
  await using bench = await openStore();
  const layerPath = `blobs/sha256/${sha256(TOP.bytes).slice(7)}`;
  const spoil = (path: string, spoiled: (bytes: Buffer) => Buffer | undefined) =>
    layoutTar({
      change(members) {
        const bytes = spoiled(members.get(path) ?? Buffer.alloc(0));
        if (bytes === undefined) members.delete(path);
        else members.set(path, bytes);
      },
    });
  const flip = (bytes: Buffer) => {
    const copy = Buffer.from(bytes);
    copy[copy.length - 5]! ^= 1;
    return copy;
  };
  await assert.rejects(
    bringBytes(
      bench,
      spoil(layerPath, () => undefined),
    ),
    { code: 'ARCHIVE_INVALID', message: /lacks/u },
  );
  await assert.rejects(
    bringBytes(
      bench,
      spoil(layerPath, (bytes) => bytes.subarray(1)),
    ),
    { code: 'DIGEST_MISMATCH' },
  );
  const flipped = bringBytes(bench, spoil(layerPath, flip));
  await assert.rejects(flipped, (error: { code?: string }) =>
    /DIGEST_MISMATCH|LAYER_MALFORMED/u.test(error.code ?? ''),
  );
  const config = sha256(json(imageConfig([BASE, TOP], { author: 'author 0' }))).slice(7);
  await assert.rejects(bringBytes(bench, spoil(`blobs/sha256/${config}`, flip)), { code: 'DIGEST_MISMATCH' });
  const swapped = dockerTar((members) =>
    members.map((member) => (member.path.endsWith('layer.tar') ? { ...member, content: tarOf([]) } : member)),
  );
  await assert.rejects(bringBytes(bench, swapped), { code: 'DIGEST_MISMATCH' });
});

test('archives for another architecture, with too many members or too large documents are refused by name', async () => {
  await using bench = await openStore();
  await assert.rejects(bringBytes(bench, layoutTar({ config: { architecture: 'arm64' } })), {
    code: 'PLATFORM_UNSUPPORTED',
  });
  const many = Array.from({ length: limits.archiveMembersMax + 1 }, (_, index) => ({
    path: `blobs/sha256/${index.toString(16).padStart(64, '0')}`,
  }));
  await assert.rejects(bringBytes(bench, tarOf(many)), { code: 'IMAGE_LIMIT', message: /members/u });
  const huge = layoutTar({ change: (members) => members.set('index.json', Buffer.alloc(limits.manifestBytesMax + 1)) });
  await assert.rejects(bringBytes(bench, huge), { code: 'IMAGE_LIMIT', message: /index\.json/u });
});

test('finding the members of a large archive reads only its headers', async () => {
  await using bench = await openStore();
  await using scratch = await Scratch.create();
  const path = scratch.path();
  await writeFile(path, layoutTar());
  const { size } = await stat(path);
  // A hole of 4 GiB as one more blob in front: reading it would take seconds.
  const hole = 4 * 1024 ** 3;
  const sparse = scratch.path();
  await writeFile(sparse, tarOf([{ path: `blobs/sha256/${'0'.repeat(64)}`, size: hole }]).subarray(0, 512));
  const handle = await import('node:fs/promises').then(({ open }) => open(sparse, 'r+'));
  await handle.write(await readFile(path), 0, size, 512 + hole);
  await handle.close();
  const cpuMs = startCpuWatch();
  const source = { path: sparse, bytes: 0, digest: sha256(''), name: 'x', tmp: bench.store.tmp, platform: PLATFORM };
  await using image = await openArchive(source, signal);
  assert.equal(image.layers.length, 2);
  assert.ok(cpuMs() < 1_000, `${cpuMs()} ms`);
});
