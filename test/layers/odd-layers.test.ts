import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { packLayer } from '../../src/layers/pack.ts';
import { LayerReader } from '../../src/erofs/reader.ts';
import { Tree } from '../../src/layers/tree.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { collect } from '../../src/std/bytes.ts';
import { imageOf, layerOf, Scratch } from '../support/layers.ts';
import { streamOf, type TarMember, tarOf } from '../support/tar.ts';

/** Paths of an image with their content, target or type; names of one file share a letter. */
async function contents(layers: readonly LayerFile[]): Promise<Record<string, string>> {
  await using tree = await Tree.open(layers);
  const found: Record<string, string> = {};
  const files = new Map<string, string>();
  for await (const { path, node } of tree.walk()) {
    if (node.type === 'directory') continue;
    const letter = files.get(node.key) ?? String.fromCharCode(97 + files.size);
    files.set(node.key, letter);
    const text = node.type === 'file' ? (await tree.read(node, 0, 100)).toString() : node.type;
    found[path] = `${letter}:${text}`;
  }
  return found;
}

/** Returns every order of the members. */
function orders<Item>(items: readonly Item[]): Item[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((first, at) => orders(items.toSpliced(at, 1)).map((rest) => [first, ...rest]));
}

const dir = (path: string): TarMember => ({ path, flag: '5', mode: 0o755 });
const file = (path: string, content: string): TarMember => ({ path, content });
const link = (path: string, linkname: string): TarMember => ({ path, flag: '1', linkname });

test('a hard link keeps the content of a file that the same layer removes, in any order (I5)', async () => {
  const base = [dir('d'), file('d/old', 'kept'), file('d/other', 'stays')];
  const cases: readonly (readonly [readonly TarMember[], Record<string, string>])[] = [
    [[link('new', 'd/old'), file('d/.wh.old', '')], { 'd/other': 'a:stays', new: 'b:kept' }],
    [[link('new', 'd/old'), file('d/.wh..wh..opq', '')], { new: 'a:kept' }],
    [[link('new', 'd/old'), file('.wh.d', '')], { new: 'a:kept' }],
    [
      [link('new', 'd/old'), link('next', 'd/old'), file('d/.wh.old', '')],
      { 'd/other': 'a:stays', new: 'b:kept', next: 'b:kept' },
    ],
    [[link('d/new', 'd/old'), file('d/.wh.old', '')], { 'd/new': 'a:kept', 'd/other': 'b:stays' }],
  ];
  for (const [members, expected] of cases) {
    for (const order of orders(members)) {
      await using scratch = await Scratch.create();
      const layers = await imageOf(scratch, base, order);
      assert.deepEqual(await contents(layers), expected, JSON.stringify(order.map(({ path }) => path)));
    }
  }
});

test('a file that was copied for a hard link is replaced like any other', async () => {
  await using scratch = await Scratch.create();
  const layers = await imageOf(
    scratch,
    [file('old', 'kept')],
    [link('new', 'old'), file('old', 'replaced'), file('.wh.old', '')],
  );
  assert.deepEqual(await contents(layers), { new: 'a:kept', old: 'b:replaced' });
});

test('a parent that is a symlink further down leads to its target, as umoci unpacks it (B8)', async () => {
  await using scratch = await Scratch.create();
  const base = [dir('usr'), dir('usr/lib'), file('usr/lib/old', 'o'), { path: 'lib', flag: '2', linkname: 'usr/lib' }];
  const through = await imageOf(scratch, base, [file('lib/new', 'n')]);
  assert.deepEqual(await contents(through), { lib: 'a:symlink', 'usr/lib/new': 'b:n', 'usr/lib/old': 'c:o' });
  const own = await imageOf(scratch, base, [dir('lib'), file('lib/new', 'n')]);
  assert.deepEqual(await contents(own), { 'lib/new': 'a:n', 'usr/lib/old': 'b:o' });
});

test('an opaque mark says nothing of the target of a symlink, before or after its directory (B8)', async () => {
  const base = [dir('usr'), dir('usr/lib'), file('usr/lib/old', 'o'), { path: 'lib', flag: '2', linkname: 'usr/lib' }];
  for (const order of orders([dir('lib'), file('lib/.wh..wh..opq', '')])) {
    await using scratch = await Scratch.create();
    assert.deepEqual(await contents(await imageOf(scratch, base, [...order, file('lib/new', 'n')])), {
      'lib/new': 'a:n',
      'usr/lib/old': 'b:o',
    });
  }
});

test('an owner that is no id is the overflow id, as the guest shows it (I16)', async () => {
  await using scratch = await Scratch.create();
  const ids = { uid: '4294967295', gid: '4294967295' };
  const layers = await imageOf(scratch, [
    { path: 'f', content: 'x', pax: ids },
    { path: 'g', content: 'x' },
  ]);
  await using tree = await Tree.open(layers);
  const node = await tree.resolve('/f');
  assert.deepEqual([node.uid, node.gid], [65_534, 65_534]);
});

test('in the form of an overlay only its own marks have a meaning, and every name is kept (I3)', async () => {
  await using scratch = await Scratch.create();
  const [base] = await imageOf(scratch, [
    dir('d'),
    file('d/hidden', 'h'),
    file('gone', 'g'),
    file('NAME', 'n'),
    dir('e'),
  ]);
  assert.ok(base !== undefined);
  const upper = tarOf([
    { ...dir('d/'), pax: { 'SCHILY.xattr.trusted.overlay.opaque': 'y' } },
    file('d/new', 'n'),
    { path: 'gone', flag: '3' },
    file('.wh.NAME', 'a file'),
    dir('e/'),
    file('e/.wh..wh..opq', ''),
    file('e/.wh..wh.', ''),
    { ...dir('.wh.folder/'), pax: { 'SCHILY.xattr.user.x': 'y' } },
    file('.wh.folder/x', 'x'),
  ]);
  const path = scratch.path();
  await using lower = await Tree.open([base]);
  const built = await buildLayer(streamOf(upper), path, { lower, marks: 'overlay' });
  assert.deepEqual(await contents([base, { path, bytes: built.bytes }]), {
    '.wh.NAME': 'a:a file',
    '.wh.folder/x': 'b:x',
    NAME: 'c:n',
    'd/new': 'd:n',
    'e/.wh..wh.': 'e:',
    'e/.wh..wh..opq': 'f:',
  });
  await using reader = await LayerReader.open({ path, bytes: built.bytes });
  await assert.rejects(collect(packLayer(reader), 1e6), { code: 'ARGUMENT_INVALID', message: /\.wh\.NAME/u });
});

test('an archive from elsewhere cannot make a directory opaque by an extended attribute', async () => {
  await using scratch = await Scratch.create();
  const layers = await imageOf(scratch, [dir('d'), file('d/seen', 's')]);
  const marked = { ...dir('d/'), pax: { 'SCHILY.xattr.trusted.overlay.opaque': 'y' } };
  layers.push(await layerOf(scratch, tarOf([marked]), layers));
  assert.deepEqual(await contents(layers), { 'd/seen': 'a:s' });
});
