import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Tree } from '../../../src/layers/tree.ts';
import type { DiffQuery, DiffResult } from '../../../src/contract/inspect.ts';
import { FLAT_INLINE, FLAT_PLAIN } from '../../../src/erofs/format.ts';
import { ReaderPool } from '../../../src/erofs/reader-pool.ts';
import { diff } from '../../../src/images/inspect/diff.ts';
import { collect } from '../../../src/std/bytes.ts';
import { frozenBytes } from '../../support/frozen.ts';
import { imageOf, layerOf, Scratch } from '../../support/layers.ts';
import { tarOf, type TarMember } from '../../support/tar.ts';

const BASE: readonly TarMember[] = [
  { path: 'keep/a', content: 'same' },
  { path: 'etc/hosts', content: 'one\ntwo\nthree\n' },
  { path: 'etc/mode', content: 'x', mode: 0o644 },
  { path: 'etc/owner', content: 'x' },
  { path: 'etc/time', content: 'x', mtime: 1 },
  { path: 'gone/deep/file', content: 'x' },
  { path: 'link', flag: '2', linkname: 'keep/a' },
  { path: 'becomes-dir', content: 'x' },
  { path: 'becomes-file/inside', content: 'x' },
  { path: 'same-size', content: 'abc' },
];
const CHANGE: readonly TarMember[] = [
  { path: 'etc/hosts', content: 'one\n2\nthree\n' },
  { path: 'etc/mode', content: 'x', mode: 0o755 },
  { path: 'etc/owner', content: 'x', uid: 7 },
  { path: 'etc/time', content: 'x', mtime: 2 },
  { path: '.wh.gone', content: '' },
  { path: 'link', flag: '2', linkname: 'etc/hosts' },
  { path: 'becomes-dir/', flag: '5', mode: 0o755 },
  { path: 'becomes-dir/new', content: 'y' },
  { path: 'becomes-file', content: 'now a file' },
  { path: 'added/sub/f', content: 'yy' },
  { path: 'same-size', content: 'abd' },
];

async function compare(
  scratch: Scratch,
  from: readonly (readonly TarMember[])[],
  to: readonly (readonly TarMember[])[],
  query?: Omit<DiffQuery, 'to'>,
): Promise<DiffResult> {
  await using left = await Tree.open(await imageOf(scratch, ...from));
  await using right = await Tree.open(await imageOf(scratch, ...to));
  return await diff({ image: 'A', tree: left }, { image: 'B', tree: right }, query);
}

const lines = ({ entries }: DiffResult): string[] =>
  entries.map(({ change, path, type }) => `${change} ${path} ${type}`);

const EXPECTED = [
  'added /added directory',
  'added /added/sub directory',
  'added /added/sub/f file',
  'modified /becomes-dir directory',
  'added /becomes-dir/new file',
  'modified /becomes-file file',
  'removed /becomes-file/inside file',
  'modified /etc/hosts file',
  'metadata /etc/mode file',
  'metadata /etc/owner file',
  'metadata /etc/time file',
  'removed /gone directory',
  'removed /gone/deep directory',
  'removed /gone/deep/file file',
  'modified /link symlink',
  'modified /same-size file',
];

test('diff tells every kind of change, in order of paths', async () => {
  await using scratch = await Scratch.create();
  const result = await compare(scratch, [BASE], [BASE, CHANGE]);
  assert.deepEqual(lines(result), EXPECTED);
  assert.deepEqual([result.from, result.to], ['A', 'B']);
  assert.deepEqual([result.added, result.removed, result.modified, result.truncated], [4, 4, 8, false]);
  const mode = result.entries.find(({ path }) => path === '/etc/mode');
  assert.deepEqual(mode, {
    path: '/etc/mode',
    change: 'metadata',
    type: 'file',
    size: 1,
    size_before: 1,
    mode: 0o100755,
    mode_before: 0o100644,
    owner: '0:0',
    owner_before: '0:0',
  });
  const owner = result.entries.find(({ path }) => path === '/etc/owner');
  assert.deepEqual([owner?.owner_before, owner?.owner], ['0:0', '7:0']);
});

test('diff is the same whether the images share layers, and turned round the other way', async () => {
  await using scratch = await Scratch.create();
  const [base, change] = (await imageOf(scratch, BASE, CHANGE)) as [
    { path: string; bytes: number },
    { path: string; bytes: number },
  ];
  await using pool = new ReaderPool();
  await using left = await Tree.open([base], pool);
  await using right = await Tree.open([base, change], pool);
  assert.deepEqual(lines(await diff({ image: '', tree: left }, { image: '', tree: right })), EXPECTED);
  const back = await diff({ image: '', tree: right }, { image: '', tree: left });
  assert.deepEqual([back.added, back.removed, back.modified], [4, 4, 8]);
  assert.deepEqual((await diff({ image: '', tree: right }, { image: '', tree: right })).entries, []);
});

test('images of different layers with the same files do not differ', async () => {
  await using scratch = await Scratch.create();
  const result = await compare(scratch, [BASE], [BASE.slice(0, 4), BASE.slice(4)]);
  assert.deepEqual(lines(result), []);
});

test('long files are compared to their last byte', async () => {
  await using scratch = await Scratch.create();
  const MIB = 1024 * 1024;
  const bytes = Buffer.alloc(3 * MIB + 5_000, 'long ');
  // First and last bytes of a run, one in between, and some of the rest at the end.
  const places = [0, MIB - 1, MIB, MIB + 77, 3 * MIB, bytes.length - 1];
  const image = (changed: boolean): TarMember[] =>
    [undefined, ...places].map((place, index) => {
      const content = Buffer.from(bytes);
      if (changed && place !== undefined) content[place] = 0;
      return { path: `f${index}`, content };
    });
  const result = await compare(scratch, [image(false)], [image(true)]);
  assert.deepEqual(
    lines(result),
    places.map((_, index) => `modified /f${index + 1} file`),
  );
});

test('a file whose end lies beside its inode, as older layers have it, equals one with whole blocks', async () => {
  await using scratch = await Scratch.create();
  const [path, bytes] = [scratch.path(), frozenBytes('layer/1/base.txt')];
  await writeFile(path, bytes);
  await using older = await Tree.open([{ path, bytes: bytes.length }]);
  const node = await older.resolve('/large');
  const content = await collect(older.stream(node, 0, node.size), 1024 * 1024);
  const { mode, uid, gid, mtimeSeconds: mtime } = node;
  const file = { path: 'large', content, mode: mode & 0o7777, uid, gid, mtime };
  await using today = await Tree.open(await imageOf(scratch, [file]));
  const layouts = [node, await today.resolve('/large')].map(({ sources }) => sources[0]?.inode.layout);
  assert.deepEqual(layouts, [FLAT_INLINE, FLAT_PLAIN]);
  const query = { path: '/large' };
  assert.deepEqual(lines(await diff({ image: 'A', tree: older }, { image: 'B', tree: today }, query)), []);
  const last = Buffer.from(content);
  last[last.length - 1] = (last.at(-1) ?? 0) ^ 1;
  await using changed = await Tree.open(await imageOf(scratch, [{ ...file, content: last }]));
  const result = await diff({ image: 'A', tree: older }, { image: 'B', tree: changed }, query);
  assert.deepEqual(lines(result), ['modified /large file']);
});

test('xattrs count as metadata', async () => {
  await using scratch = await Scratch.create();
  const pax = { 'SCHILY.xattr.security.capability': '\x01\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' };
  const result = await compare(scratch, [[{ path: 'f', content: 'x' }]], [[{ path: 'f', content: 'x', pax }]]);
  assert.deepEqual(lines(result), ['metadata /f file']);
});

test('a path limits the comparison; one that only one image has is all added or removed', async () => {
  await using scratch = await Scratch.create();
  assert.deepEqual(lines(await compare(scratch, [BASE], [BASE, CHANGE], { path: '/added' })), EXPECTED.slice(0, 3));
  assert.deepEqual(lines(await compare(scratch, [BASE], [BASE, CHANGE], { path: '/etc/hosts' })), [
    'modified /etc/hosts file',
  ]);
  await assert.rejects(compare(scratch, [BASE], [BASE], { path: '/nope' }), { code: 'FILE_NOT_FOUND' });
});

test('limit bounds the entries, not the counts', async () => {
  await using scratch = await Scratch.create();
  const result = await compare(scratch, [BASE], [BASE, CHANGE], { limit: 2 });
  assert.equal(result.entries.length, 2);
  assert.deepEqual([result.added, result.removed, result.modified, result.truncated], [4, 4, 8, true]);
});

test('patches are those of small text files, when asked for', async () => {
  await using scratch = await Scratch.create();
  const { entries } = await compare(scratch, [BASE], [BASE, CHANGE], { patch: true });
  const patches = entries.filter(({ patch }) => patch !== undefined).map(({ path }) => path);
  assert.deepEqual(patches, ['/etc/hosts', '/same-size']);
  assert.match(entries.find(({ path }) => path === '/etc/hosts')?.patch ?? '', /^-two\n\+2$/mu);
  const without = await compare(scratch, [BASE], [BASE, CHANGE]);
  assert.ok(without.entries.every(({ patch }) => patch === undefined));
});

test('diff finds what diff -r finds on the images unpacked', async () => {
  await using scratch = await Scratch.create();
  const [left, right] = [scratch.path(), scratch.path()];
  const young = BASE.filter(({ path }) => path !== 'keep/a').map((member) =>
    member.path === 'etc/time' ? { ...member, content: 'other' } : member,
  );
  for (const [folder, members] of [
    [left, BASE],
    [right, [...young, { path: 'keep/b', content: 'new' }]],
  ] as const) {
    mkdirSync(folder);
    execFileSync('tar', ['-x', '-C', folder], { input: tarOf(members) });
  }
  const { stdout } = spawnSync('diff', ['-rq', '--no-dereference', left, right], { encoding: 'utf8' });
  const reference = stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.replaceAll(left, 'L').replaceAll(right, 'R'));
  assert.deepEqual(reference, ['Files L/etc/time and R/etc/time differ', 'Only in L/keep: a', 'Only in R/keep: b']);
  const result = await compare(scratch, [BASE], [[...young, { path: 'keep/b', content: 'new' }]]);
  assert.deepEqual(lines(result), ['modified /etc/time file', 'removed /keep/a file', 'added /keep/b file']);
});

test('100 changes among 10,000 files in a layer that both share are found', async () => {
  await using scratch = await Scratch.create();
  const many = Array.from({ length: 10_000 }, (_, index) => ({
    path: `d${index % 100}/f${index}`,
    content: `${index}`,
  }));
  const base = await layerOf(scratch, tarOf(many));
  const change = Array.from({ length: 100 }, (_, index) => ({ path: `d${index}/f${index}`, content: 'changed' }));
  const top = await layerOf(scratch, tarOf(change), [base]);
  await using pool = new ReaderPool();
  await using left = await Tree.open([base], pool);
  await using right = await Tree.open([base, top], pool);
  const { added, modified, removed } = await diff({ image: '', tree: left }, { image: '', tree: right });
  assert.deepEqual({ added, modified, removed }, { added: 0, modified: 100, removed: 0 });
});
