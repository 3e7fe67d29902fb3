import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { Tree } from '../../../src/layers/tree.ts';
import { archive, listDirectory, openFile, stat } from '../../../src/images/inspect/view.ts';
import { collect } from '../../../src/std/bytes.ts';
import { imageOf, layerOf, Scratch } from '../../support/layers.ts';
import { tarOf, type TarMember } from '../../support/tar.ts';

const BASE: readonly TarMember[] = [
  { path: 'etc/', flag: '5', mode: 0o755 },
  { path: 'etc/passwd', content: 'root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\nlate:x:0:0:::\nbroken\n' },
  { path: 'etc/group', content: 'root:x:0:\nstaff:x:50:\n' },
  { path: 'usr/bin/', flag: '5', mode: 0o755 },
  { path: 'usr/bin/tool', content: 'x'.repeat(10_000), mode: 0o4755, uid: 1000, gid: 50, mtime: 1_700_000_000 },
  { path: 'bin', flag: '2', linkname: 'usr/bin' },
  { path: 'loop-a', flag: '2', linkname: 'loop-b' },
  { path: 'loop-b', flag: '2', linkname: 'loop-a' },
  { path: 'up', flag: '2', linkname: '../../../../etc/passwd' },
  { path: 'absolute', flag: '2', linkname: '/etc/passwd' },
  { path: 'fifo', flag: '6', mode: 0o600 },
  { path: 'null', flag: '3', device: [1, 3], mode: 0o666, gid: 70_000 },
  { path: 'caf\xe9', content: 'not UTF-8' },
];

async function openImage(scratch: Scratch, ...archives: (readonly TarMember[])[]): Promise<Tree> {
  return await Tree.open(await imageOf(scratch, ...archives));
}

test('listDirectory gives every field of every entry, with names from the image itself', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, BASE);
  const { path, files } = await listDirectory(tree, '/usr/bin');
  assert.equal(path, '/usr/bin');
  assert.deepEqual(files, [
    {
      size: 10_000,
      path: 'tool',
      owner: 'ann',
      group: 'staff',
      uid: 1000,
      gid: 50,
      mode: 0o104755,
      mtime: 1_700_000_000,
      nlink: 1,
      is_dir: false,
      is_regular: true,
      is_symlink: false,
      is_socket: false,
      is_fifo: false,
      symlink_to: '',
    },
  ]);
});

test('listDirectory gives a part of a directory, and says how many entries there are', async () => {
  await using scratch = await Scratch.create();
  const names = Array.from({ length: 700 }, (_, at) => `${at}`.padStart(3, '0'));
  await using tree = await openImage(
    scratch,
    names.map((name) => ({ path: `d/${name}` })),
  );
  for (const [offset, limit] of [
    [0, 1],
    [255, 3],
    [100, 500],
    [699, 10],
    [700, 1],
    [10_000, 5],
  ] as const) {
    const { files, total } = await listDirectory(tree, '/d', { offset, limit });
    assert.deepEqual(
      files.map(({ path }) => path),
      names.slice(offset, offset + limit),
    );
    assert.equal(total, names.length);
  }
  assert.equal((await listDirectory(tree, '/d', { offset: 650 })).files.length, 50);
  assert.equal((await listDirectory(tree, '/d')).total, undefined, 'all of it is the answer of the hosted contract');
});

test('listDirectory of the root is in byte order, shows every type, and numbers without a name', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, BASE);
  const { files } = await listDirectory(tree, '/');
  assert.deepEqual(
    files.map(({ path, mode }) => `${path} ${(mode >> 12).toString(8)}`),
    [
      'absolute 12',
      'bin 12',
      String.raw`caf\xe9 10`,
      'etc 4',
      'fifo 1',
      'loop-a 12',
      'loop-b 12',
      'null 2',
      'up 12',
      'usr 4',
    ],
  );
  assert.equal(files.find(({ path }) => path === 'bin')?.symlink_to, 'usr/bin');
  assert.equal(files.find(({ path }) => path === 'null')?.group, 70_000);
  assert.equal(files.find(({ path }) => path === 'etc')?.owner, 'root', 'the first line of an id counts');
  assert.ok(files.find(({ path }) => path === 'fifo')?.is_fifo);
});

test('symlinks are followed inside the image only, and loops end', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, BASE);
  const read = async (path: string): Promise<string> => {
    const { body } = await openFile(tree, path);
    return (await collect(body, 100_000)).toString();
  };
  const passwd = await read('/etc/passwd');
  assert.equal(await read('/up'), passwd);
  assert.equal(await read('/absolute'), passwd);
  assert.equal(await read('/../../../etc/passwd'), passwd);
  assert.equal((await listDirectory(tree, '/bin')).files[0]?.path, 'tool');
  await assert.rejects(read('/loop-a'), { code: 'SYMLINK_LOOP' });
});

test('stat describes a symlink itself and keeps the path that was asked for', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, BASE);
  const { path, is_symlink, symlink_to } = await stat(tree, '/bin');
  assert.deepEqual([path, is_symlink, symlink_to], ['/bin', true, 'usr/bin']);
  assert.equal((await stat(tree, '/')).is_dir, true);
});

test('openFile reads ranges and clips them', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, [{ path: 'f', content: Buffer.from('0123456789'.repeat(1_000)) }]);
  const part = async (offset: number, length?: number): Promise<string> => {
    const { size, body } = await openFile(tree, '/f', { offset, ...(length !== undefined && { length }) });
    assert.equal(size, 10_000);
    return (await collect(body, 10_000)).toString();
  };
  assert.equal(await part(9_998), '89');
  assert.equal(await part(4_095, 3), '567');
  assert.equal(await part(9_999, 100), '9');
  assert.equal(await part(20_000), '');
  assert.equal(await part(5, 0), '');
});

test('what is not there, not a file or not a directory is said with the path as it was given', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, BASE);
  await assert.rejects(openFile(tree, '/etc/nope'), {
    code: 'FILE_NOT_FOUND',
    detail: { path: '/etc/nope', nearest: '/etc' },
  });
  await assert.rejects(openFile(tree, '/etc'), { code: 'NOT_A_FILE', detail: { path: '/etc', type: 'directory' } });
  await assert.rejects(openFile(tree, '/null'), { code: 'NOT_A_FILE', detail: { path: '/null', type: 'device' } });
  await assert.rejects(listDirectory(tree, '/etc/passwd'), { code: 'NOT_A_DIRECTORY' });
  await assert.rejects(listDirectory(tree, '/etc/passwd/x'), { code: 'NOT_A_DIRECTORY' });
  await assert.rejects(listDirectory(tree, ''), { code: 'PATH_INVALID' });
  await assert.rejects(listDirectory(tree, `/${'x/'.repeat(3_000)}`), { code: 'PATH_INVALID' });
  await assert.rejects(listDirectory(tree, '/a\0b'), { code: 'PATH_INVALID' });
});

test('a name that is not UTF-8 is shown escaped, and its shown form is a path', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, BASE);
  const { size } = await openFile(tree, String.raw`/caf\xe9`);
  assert.equal(size, 9);
});

test('a huge or damaged /etc/passwd only means fewer names', async () => {
  await using scratch = await Scratch.create();
  const lines = [
    ...Array.from({ length: 60_000 }, (_, id) => `user${id}:x:${id}:0:::`),
    `${'y'.repeat(300)}:x:70000:0`,
  ];
  await using tree = await openImage(scratch, [
    { path: 'etc/passwd', content: `:x:1:\n\0:x:2:\n\x1b[2J:x:3:\nok:x:99999999999999:\n${lines.join('\n')}` },
    { path: 'etc/group', flag: '5' },
    { path: 'f', uid: 1, gid: 1 },
  ]);
  const { owner, group } = await stat(tree, '/f');
  assert.deepEqual([owner, group], ['user1', 1]);
});

test('archive names members from the archived entry on and never out of it', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, BASE, [{ path: 'etc/.wh.group', content: '' }]);
  const members = async (path: string): Promise<string[]> => {
    const bytes = await collect(await archive(tree, path), 1024 * 1024);
    return execFileSync('tar', ['-t'], { input: bytes, encoding: 'utf8' }).trimEnd().split('\n');
  };
  assert.deepEqual(await members('/etc'), ['etc/', 'etc/passwd']);
  assert.deepEqual(await members('/etc/passwd'), ['passwd']);
  assert.deepEqual(await members('/../etc/./passwd'), ['passwd']);
  assert.deepEqual(await members('/usr/bin'), ['bin/', 'bin/tool']);
  assert.deepEqual(await members('/usr/bin/..'), ['usr/', 'usr/bin/', 'usr/bin/tool']);
  assert.deepEqual(await members('/bin'), ['bin/', 'bin/tool']);
  await assert.rejects(archive(tree, '/nope'), { code: 'FILE_NOT_FOUND' });
  await assert.rejects(archive(tree, '/fifo'), { code: 'NOT_A_FILE' });
});

test('an archive that holds links out of it unpacks inside its folder', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, [
    { path: 'out', flag: '2', linkname: '/' },
    { path: 'tmp', flag: '2', linkname: '../../../../../../tmp' },
    { path: 'dir/f', content: 'x' },
  ]);
  const folder = scratch.path();
  mkdirSync(folder);
  const bytes = await collect(await archive(tree, '/'), 1024 * 1024);
  execFileSync('tar', ['-x', '-C', folder], { input: bytes });
  assert.equal(execFileSync('find', [folder, '-type', 'f', '-printf', '%P'], { encoding: 'utf8' }), 'dir/f');
});

test('list and read agree with coreutils on the same archive unpacked', async () => {
  await using scratch = await Scratch.create();
  const members: TarMember[] = [
    { path: 'd/', flag: '5', mode: 0o1777 },
    { path: 'd/a b', content: 'spaces', mode: 0o600 },
    { path: 'd/new\nline', content: 'odd name' },
    { path: 'd/-rf', content: 'x'.repeat(5_000), mode: 0o755 },
    { path: 'd/hard', flag: '1', linkname: 'd/-rf' },
    { path: 'd/link', flag: '2', linkname: 'a b', mode: 0o777 },
    { path: `d/${'n'.repeat(90)}`, content: '' },
  ];
  const folder = scratch.path();
  mkdirSync(folder);
  execFileSync('tar', ['-x', '-p', '-C', folder], { input: tarOf(members) });
  await using tree = await Tree.open([await layerOf(scratch, tarOf(members))]);
  const { files } = await listDirectory(tree, '/d');
  const found = execFileSync('find', [`${folder}/d`, '-mindepth', '1', '-printf', String.raw`%f|%s|%m|%n|%l\0`], {
    encoding: 'utf8',
  });
  assert.deepEqual(
    files.map(
      (file) => `${file.path}|${file.size}|${(file.mode & 0o7777).toString(8)}|${file.nlink}|${file.symlink_to}`,
    ),
    found
      .split('\0')
      .slice(0, -1)
      .toSorted((a, b) => (a < b ? -1 : 1)),
  );
  for (const file of files.filter((item) => item.is_regular)) {
    const { body } = await openFile(tree, `/d/${file.path}`);
    const ours = await collect(body, 100_000);
    assert.deepEqual(ours, execFileSync('cat', ['--', `${folder}/d/${file.path}`]));
  }
});
