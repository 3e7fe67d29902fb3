import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tree } from '../../src/layers/tree.ts';
import { ReaderPool } from '../../src/erofs/reader-pool.ts';
import { collect } from '../../src/std/bytes.ts';
import { imageOf, Scratch } from '../support/layers.ts';
import type { TarMember } from '../support/tar.ts';

const link = (path: string, linkname: string): TarMember => ({ path, flag: '2', linkname });

const BASE: readonly TarMember[] = [
  { path: 'etc/hosts', content: '127.0.0.1' },
  { path: 'usr/bin/python3.11', content: 'elf', mode: 0o755 },
  link('usr/bin/python3', 'python3.11'),
  link('usr/bin/python', '/usr/bin/python3'),
  link('bin', 'usr/bin'),
  link('a', 'b'),
  link('b', '/a'),
  link('self', 'self/x'),
  link('outside', '../../../../etc'),
  link('dangling', 'nothing/here'),
  { path: 'merged/base', content: 'base' },
  { path: 'merged/both', content: 'base' },
  { path: 'hidden/x' },
];
const MIDDLE: readonly TarMember[] = [
  { path: 'merged/both', content: 'middle', uid: 7 },
  { path: 'merged/middle', content: 'middle' },
  { path: 'hidden/.wh..wh..opq' },
  { path: 'hidden/y' },
];
const TOP: readonly TarMember[] = [
  { path: 'merged/', flag: '5', mode: 0o2700, uid: 9, pax: { 'SCHILY.xattr.user.top': '1' } },
  { path: 'merged/.wh.base' },
  { path: 'merged/zzz', flag: '1', linkname: 'merged/middle' },
];

async function image(): Promise<{ tree: Tree; [Symbol.asyncDispose](): Promise<void> }> {
  const scratch = await Scratch.create();
  const tree = await Tree.open(await imageOf(scratch, BASE, MIDDLE, TOP));
  return {
    tree,
    async [Symbol.asyncDispose]() {
      await tree[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

test('resolve follows symlinks inside the image, wherever they point', async () => {
  await using opened = await image();
  const { tree } = opened;
  const located = {
    '/etc/hosts': 'etc/hosts',
    'etc//./hosts': 'etc/hosts',
    '/bin/python': 'usr/bin/python3.11',
    '/outside/hosts': 'etc/hosts',
    '/../../etc/hosts': 'etc/hosts',
    '/': '',
    '': '',
    '/..': '',
    '/usr/bin/': 'usr/bin',
  };
  for (const [path, expected] of Object.entries(located)) {
    assert.equal((await tree.locate(path)).path, expected, path);
  }
  await assert.rejects(
    tree.resolve('/bin/../etc/hosts'),
    { code: 'FILE_NOT_FOUND' },
    '`..` of the target, as in Linux',
  );
  assert.equal((await tree.resolve('/bin/python', { followLast: false })).type, 'symlink');
  assert.equal((await tree.locate('/bin/python', { followLast: false })).path, 'usr/bin/python');
  assert.equal((await tree.resolve('/dangling', { followLast: false })).type, 'symlink');
});

test('resolve says what is wrong with a path', async () => {
  await using opened = await image();
  const { tree } = opened;
  await assert.rejects(tree.resolve('/etc/none/deeper'), {
    code: 'FILE_NOT_FOUND',
    detail: { path: '/etc/none/deeper', nearest: '/etc' },
  });
  await assert.rejects(tree.resolve('/dangling'), { code: 'FILE_NOT_FOUND' });
  await assert.rejects(tree.resolve('/hidden/x'), { code: 'FILE_NOT_FOUND' });
  await assert.rejects(tree.resolve('/etc/hosts/x'), {
    code: 'NOT_A_DIRECTORY',
    detail: { path: '/etc/hosts', type: 'file' },
  });
  for (const path of ['/a', '/b/c', '/self']) await assert.rejects(tree.resolve(path), { code: 'SYMLINK_LOOP' }, path);
  await assert.rejects(tree.resolve('/x\0y'), { code: 'PATH_INVALID' });
  await assert.rejects(tree.resolve(`/${'n'.repeat(256)}`), { code: 'PATH_INVALID' });
  await assert.rejects(tree.resolve('/n'.repeat(2_049)), { code: 'PATH_INVALID' });
});

test('a merged directory has the names of all layers and the metadata of the topmost', async () => {
  await using opened = await image();
  const { tree } = opened;
  const merged = await tree.resolve('/merged');
  assert.deepEqual([merged.mode, merged.uid], [0o42700, 9]);
  assert.deepEqual([...(await tree.xattrs(merged)).keys()], ['user.top']);
  const entries = await tree.list(merged);
  const contents = await Promise.all(entries.map(({ node }) => tree.read(node, 0, 100)));
  assert.deepEqual(
    entries.map(({ name, node }, index) => [name, node.uid, contents[index]?.toString()]),
    [
      ['both', 7, 'middle'],
      ['middle', 0, 'middle'],
      ['zzz', 0, 'middle'],
    ],
  );
  assert.equal(entries[1]?.node.key, entries[2]?.node.key);
  assert.equal(await tree.find(merged, 'base'), undefined);
  const hidden = await tree.resolve('/hidden');
  assert.deepEqual(
    (await tree.list(hidden)).map(({ name }) => name),
    ['y'],
  );
  assert.equal((await tree.xattrs(hidden)).size, 0, "the overlay's own xattrs are not shown");
});

test('walk visits parents first and siblings in byte order', async () => {
  await using scratch = await Scratch.create();
  const layers = await imageOf(
    scratch,
    [{ path: 'a/x' }, { path: 'a-b' }, { path: 'a0/y' }, { path: '\xff' }],
    [{ path: 'a/w' }, { path: 'B' }],
  );
  await using tree = await Tree.open(layers);
  const paths: string[] = [];
  for await (const { path } of tree.walk()) paths.push(path);
  assert.deepEqual(paths, ['', 'B', 'a', 'a/w', 'a/x', 'a-b', 'a0', 'a0/y', '\xff']);
  const below: string[] = [];
  for await (const { path } of tree.walk(await tree.resolve('/a'))) below.push(path);
  assert.deepEqual(below, ['', 'w', 'x']);
});

test('reads are ranges, streams are whole, both exact', async () => {
  await using scratch = await Scratch.create();
  const content = Buffer.from(Uint8Array.from({ length: 700_001 }, (_, index) => index % 253));
  await using tree = await Tree.open(await imageOf(scratch, [{ path: 'f', content }]));
  const file = await tree.resolve('/f');
  assert.ok((await collect(tree.stream(file), 1e6)).equals(content));
  assert.ok((await collect(tree.stream(file, 1_000, 500_000), 1e6)).equals(content.subarray(1_000, 501_000)));
  assert.ok((await tree.read(file, 699_990, 100)).equals(content.subarray(699_990)));
  assert.equal((await tree.read(file, 700_001, 1)).length, 0);
});

test('equal keys of two trees mean equal subtrees', async () => {
  await using scratch = await Scratch.create();
  const layers = await imageOf(scratch, [{ path: 'd/x' }, { path: 'e/y' }], [{ path: 'd/z' }]);
  await using pool = new ReaderPool();
  await using lower = await Tree.open(layers.slice(0, 1), pool);
  await using upper = await Tree.open(layers, pool);
  assert.equal((await lower.resolve('/e')).key, (await upper.resolve('/e')).key);
  assert.equal((await lower.resolve('/d/x')).key, (await upper.resolve('/d/x')).key);
  assert.notEqual((await lower.resolve('/d')).key, (await upper.resolve('/d')).key);
  assert.notEqual(lower.root.key, upper.root.key);
});

test('an image may have the same layer several times', async () => {
  await using scratch = await Scratch.create();
  const [base, upper] = await imageOf(
    scratch,
    [{ path: 'd/x' }, { path: 'y' }],
    [{ path: 'd/.wh.x' }, { path: 'd/z' }],
  );
  await using tree = await Tree.open([base!, upper!, base!]);
  const paths: string[] = [];
  for await (const { path } of tree.walk()) paths.push(path);
  assert.deepEqual(paths, ['', 'd', 'd/x', 'd/z', 'y']);
});

test('a pool keeps a bounded number of unused layers open and opens again what it closed', async () => {
  await using scratch = await Scratch.create();
  const layers = await imageOf(scratch, [{ path: 'a' }], [{ path: 'b' }], [{ path: 'c' }]);
  await using pool = new ReaderPool(1);
  for (let round = 0; round < 3; round++) {
    await using tree = await Tree.open(layers, pool);
    assert.equal((await tree.resolve('/a')).type, 'file');
  }
  await pool.evict(layers[2]!.path);
  await using tree = await Tree.open(layers, pool);
  await pool.evict(layers[0]!.path);
  assert.equal((await tree.resolve('/a')).type, 'file', 'a layer in use is not closed');
});

test('a layer that is missing is STORE_CORRUPT, and nothing stays open', async () => {
  await using scratch = await Scratch.create();
  const layers = await imageOf(scratch, [{ path: 'a' }]);
  await using pool = new ReaderPool();
  const broken = [...layers, { path: scratch.path(), bytes: 8192 }];
  await assert.rejects(Tree.open(broken, pool), { code: 'STORE_CORRUPT' });
  await assert.rejects(Tree.open(broken, pool), { code: 'STORE_CORRUPT' });
  await using tree = await Tree.open(layers, pool);
  assert.equal((await tree.resolve('/a')).type, 'file');
});

test('60 layers over one directory answer like one', async () => {
  await using scratch = await Scratch.create();
  const archives = Array.from({ length: 60 }, (_, index) => [
    { path: 'd/shared', content: `${index}` },
    { path: `d/own${index}`, content: 'x' },
  ]);
  await using tree = await Tree.open(await imageOf(scratch, ...archives));
  assert.equal((await tree.list(await tree.resolve('/d'))).length, 61);
  assert.equal((await tree.read(await tree.resolve('/d/shared'), 0, 9)).toString(), '59');
  assert.equal((await tree.resolve('/d/own0')).type, 'file');
});
