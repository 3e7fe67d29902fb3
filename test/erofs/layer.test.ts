import assert from 'node:assert/strict';
import { access, readFile, stat } from 'node:fs/promises';
import { test } from 'node:test';
import {
  COMPACT_INODE_BYTES,
  decodeInode,
  encodeInode,
  EXTENDED_INODE_BYTES,
  fitsCompact,
  FLAT_INLINE,
  FLAT_PLAIN,
  type Inode,
} from '../../src/erofs/format.ts';
import { isFault } from '../../src/contract/errors.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import type { WrittenContent, LayerNode, Metadata } from '../../src/erofs/node.ts';
import { fullDiskFault } from '../../src/erofs/output.ts';
import { LayerReader } from '../../src/erofs/reader.ts';
import { LayerWriter } from '../../src/erofs/writer.ts';
import type { ByteString } from '../../src/std/bytes.ts';
import { fsck, Scratch } from '../support/layers.ts';

const META: Metadata = {
  mode: 0o640,
  uid: 1000,
  gid: 100,
  mtimeSeconds: 1_700_000_000,
  mtimeNanoseconds: 123_456_789,
  xattrs: NO_XATTRS,
};

async function* bytesOfSize(size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; at += 10_000) yield pattern(at, Math.min(10_000, size - at));
}

function pattern(offset: number, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, index) => (offset + index) % 251));
}

function directory(children: Iterable<readonly [ByteString, LayerNode]>, metadata: Metadata = META): LayerNode {
  return { type: 'directory', ...metadata, mode: 0o755, children: new Map(children) };
}

/** Writes a root directory, has fsck.erofs check the file, and opens it. */
async function written(
  scratch: Scratch,
  make: (writer: LayerWriter) => Promise<[ByteString, LayerNode][]>,
): Promise<LayerReader & { path?: string }> {
  const path = scratch.path();
  await using writer = await LayerWriter.create(path);
  const root = directory(await make(writer));
  assert.ok(root.type === 'directory');
  const { bytes } = await writer.finish(root);
  await fsck(path);
  return LayerReader.open({ path, bytes });
}

async function get(reader: LayerReader, name: ByteString) {
  const entry = await reader.find(await reader.root(), name);
  assert.ok(entry, `${name} is there`);
  return reader.inode(entry.nid);
}

const SIZES = [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 6144, 6145, 8191, 8192, 8193, 300_000, 2_500_000];

test('file content of every size around blocks, tails and buffers comes back exactly', async () => {
  await using scratch = await Scratch.create();
  await using reader = await written(scratch, async (writer) => {
    const files: [ByteString, LayerNode][] = [];
    for (const size of SIZES) {
      const content = await writer.append(bytesOfSize(size), size);
      files.push([`f${size}`, { type: 'file', ...META, content }]);
    }
    return files;
  });
  for (const size of SIZES) {
    const inode = await get(reader, `f${size}`);
    assert.equal(inode.size, size);
    const chunks: Buffer[] = [];
    for await (const chunk of reader.stream(inode)) chunks.push(chunk);
    assert.ok(Buffer.concat(chunks).equals(pattern(0, size)), `${size} bytes, streamed`);
    for (const offset of [0, 1, 2048, 4090, size - 1, size - 5000].filter((at) => at >= 0)) {
      const expected = pattern(offset, Math.max(0, Math.min(4096, size - offset)));
      assert.ok((await reader.read(inode, offset, 4096)).equals(expected), `${size} bytes from ${offset}`);
    }
    assert.equal((await reader.read(inode, size + 10, 5)).length, 0, 'nothing lies behind the end');
  }
});

test('every type of inode keeps its attributes', async () => {
  await using scratch = await Scratch.create();
  const xattrs = new Map([
    ['user.note', Buffer.from([0, 255, 128])],
    ['security.capability', Buffer.alloc(20, 7)],
    ['trusted.t', Buffer.alloc(0)],
    ['system.posix_acl_access', Buffer.alloc(28, 1)],
    ['system.posix_acl_default', Buffer.alloc(28, 2)],
  ]);
  const odd: Metadata = { ...META, mode: 0o7777, uid: 4_000_000_000, gid: 65_536, mtimeSeconds: -5, xattrs };
  await using reader = await written(scratch, async (writer) => [
    ['file', { type: 'file', ...odd, content: await writer.append(bytesOfSize(100), 100) }],
    ['directory', { ...directory([], odd) }],
    ['symlink', { type: 'symlink', ...odd, target: '../some\xff where' }],
    ['long', { type: 'symlink', ...META, target: 'x'.repeat(4095) }],
    ['character', { type: 'character', ...odd, major: 4095, minor: 1_048_575 }],
    ['block', { type: 'block', ...odd, major: 7, minor: 300 }],
    ['fifo', { type: 'fifo', ...odd }],
    ['socket', { type: 'socket', ...odd }],
  ]);
  for (const { name, nid, type } of await reader.list(await reader.root())) {
    const inode = await reader.inode(nid);
    assert.equal(inode.type, type, name);
    if (name === 'long') continue;
    const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = inode;
    const expected = { ...odd, mode: type === 'directory' ? 0o755 : 0o7777 };
    assert.deepEqual({ ...odd, mode: mode & 0o7777, uid, gid, mtimeSeconds, mtimeNanoseconds }, expected, name);
    const found = [...(await reader.xattrs(inode))].map(([key, value]) => [key, Buffer.from(value).toString('hex')]);
    assert.deepEqual(
      Object.fromEntries(found),
      Object.fromEntries([...xattrs].map(([key, value]) => [key, value.toString('hex')])),
      name,
    );
  }
  assert.equal(await reader.readlink(await get(reader, 'symlink')), '../some\xff where');
  assert.equal(await reader.readlink(await get(reader, 'long')), 'x'.repeat(4095));
  const { major, minor } = await get(reader, 'character');
  assert.deepEqual([major, minor], [4095, 1_048_575]);
});

test('names of one inode share it, and directories count their subdirectories', async () => {
  await using scratch = await Scratch.create();
  await using reader = await written(scratch, async (writer) => {
    const file: LayerNode = { type: 'file', ...META, content: await writer.append(bytesOfSize(5), 5) };
    const inner = directory([['third', file]]);
    return [
      ['first', file],
      ['second', file],
      ['inner', inner],
      ['other', directory([])],
    ];
  });
  const first = await get(reader, 'first');
  assert.equal(first.nlink, 3);
  assert.equal((await get(reader, 'second')).nid, first.nid);
  assert.equal((await reader.find(await get(reader, 'inner'), 'third'))?.nid, first.nid);
  assert.equal((await reader.root()).nlink, 4);
});

test('a directory of 20,000 names is listed in byte order and searched', async () => {
  await using scratch = await Scratch.create();
  const empty: WrittenContent = { size: 0, block: 0 };
  const names = Array.from(
    { length: 20_000 },
    (_, index) => `${(index * 7919) % 20_000}-\xe9${'n'.repeat(index % 200)}`,
  );
  await using reader = await written(scratch, async () => [
    ['many', directory(names.map((name) => [name, { type: 'file', ...META, content: empty }] as const))],
    ['!before-dot', directory([])],
  ]);
  const many = await get(reader, 'many');
  assert.deepEqual(
    (await reader.list(many)).map(({ name }) => name),
    names.toSorted(),
  );
  for (const name of [names[0], names[9_999], names[19_999]])
    assert.equal((await reader.find(many, name!))?.name, name);
  for (const name of ['', '.', '..', '0', 'zzz', '5-', names[5] + 'n']) {
    assert.equal(await reader.find(many, name), undefined, `no ${name}`);
  }
  assert.deepEqual(
    (await reader.list(await reader.root())).map(({ name }) => name),
    ['!before-dot', 'many'],
  );
});

test('a layer says whether gVisor can mount it as it is, and small files have blocks of their own', async () => {
  await using scratch = await Scratch.create();
  const write = async (xattrs: Metadata['xattrs']): Promise<LayerReader> => {
    const content = (writer: LayerWriter) => writer.append(bytesOfSize(300), 300);
    return written(scratch, async (writer) => [
      ['small', { type: 'file', ...META, xattrs, content: await content(writer) }],
    ]);
  };
  await using plain = await write(NO_XATTRS);
  assert.equal(plain.plain, true);
  assert.equal((await get(plain, 'small')).layout, FLAT_PLAIN);
  await using marked = await write(new Map([['user.a', Buffer.from('1')]]));
  assert.equal(marked.plain, false);
  const device = (minor: number): LayerNode => ({ type: 'character', ...META, major: 0, minor });
  for (const [name, node, expected] of [
    ['null', device(3), false],
    ['etc', directory([['null', device(3)]]), false],
    ['dev', directory([['null', device(3)]]), true],
    ['whiteout', device(0), true],
  ] as const) {
    await using reader = await written(scratch, async () => [[name, node]]);
    assert.equal(reader.plain, expected, name);
  }
});

test('the same input gives the same bytes, and the digest is of the whole file', async () => {
  await using scratch = await Scratch.create();
  const write = async () => {
    const path = scratch.path();
    await using writer = await LayerWriter.create(path);
    const content = await writer.append(bytesOfSize(5_000), 5_000);
    const xattrs = new Map([['user.a', Buffer.from('1')]]);
    const root = directory([['f', { type: 'file', ...META, xattrs, content }]]);
    assert.ok(root.type === 'directory');
    return { path, ...(await writer.finish(root)) };
  };
  const [one, two] = [await write(), await write()];
  assert.ok((await readFile(one.path)).equals(await readFile(two.path)));
  assert.equal(one.digest, two.digest);
  const hash = await crypto.subtle.digest('SHA-256', await readFile(one.path));
  assert.equal(one.digest, `sha256:${Buffer.from(hash).toString('hex')}`);
  assert.equal(one.bytes, (await stat(one.path)).size);
  assert.equal(one.bytes % 4096, 0);
});

test('runs of zeros become holes of the host file', async () => {
  await using scratch = await Scratch.create();
  const size = 64 * 1024 * 1024;
  const path = scratch.path();
  await using writer = await LayerWriter.create(path);
  const zeros = (async function* () {
    for (let at = 0; at < size; at += 1024 * 1024) yield new Uint8Array(1024 * 1024);
  })();
  const root = directory([['zeros', { type: 'file', ...META, content: await writer.append(zeros, size) }]]);
  assert.ok(root.type === 'directory');
  const { bytes } = await writer.finish(root);
  assert.ok(bytes > size);
  assert.ok((await stat(path)).blocks * 512 < 1024 * 1024, 'the host stores almost nothing');
});

test('an inode holds the largest numbers there are', () => {
  const epoch = { epochSeconds: 0, epochNanoseconds: 0 };
  const inode: Inode = {
    nid: 2 ** 31,
    type: 'file',
    mode: 0o107777,
    uid: 0xffff_fffd,
    gid: 0xffff_fffe,
    size: 2 ** 52 + 4095,
    mtimeSeconds: -(2 ** 40),
    mtimeNanoseconds: 999_999_999,
    nlink: 1_000_000,
    major: 0,
    minor: 0,
    layout: FLAT_INLINE,
    contentBlock: 0xffff_fffe,
    inodeBytes: 64,
    xattrBytes: 12 + 4 * 16_000,
  };
  const bytes = Buffer.alloc(100);
  encodeInode(bytes, 20, inode);
  assert.deepEqual(decodeInode(bytes, 20, inode.nid, epoch), inode);
  const compact: Inode = { ...inode, uid: 0xffff, gid: 0, size: 0xffff_ffff, nlink: 0xffff, inodeBytes: 32 };
  const short = { epochSeconds: compact.mtimeSeconds, epochNanoseconds: compact.mtimeNanoseconds };
  assert.equal(fitsCompact(compact, short), true);
  assert.equal(fitsCompact(compact, epoch), false);
  assert.equal(fitsCompact({ ...compact, size: 2 ** 32 }, short), false);
  bytes.fill(0);
  encodeInode(bytes, 32, compact);
  assert.deepEqual(decodeInode(bytes, 32, inode.nid, short), compact);
  assert.ok(bytes.subarray(64).equals(Buffer.alloc(36)), 'nothing is written behind a compact inode');
});

test('a writer that is disposed before its end leaves no file', async () => {
  await using scratch = await Scratch.create();
  const path = scratch.path();
  {
    await using writer = await LayerWriter.create(path);
    await writer.append(bytesOfSize(3_000_000), 3_000_000);
  }
  await assert.rejects(access(path), { code: 'ENOENT' });
});

test('content that is longer or shorter than it said, and a file beyond the limit, are refused', async () => {
  await using scratch = await Scratch.create();
  await using writer = await LayerWriter.create(scratch.path(), 1024 * 1024);
  await assert.rejects(writer.append(bytesOfSize(11), 10), { code: 'LAYER_MALFORMED' });
  await assert.rejects(writer.append(bytesOfSize(9), 10), { code: 'LAYER_MALFORMED' });
  await assert.rejects(writer.append(bytesOfSize(2 ** 21), 2 ** 21), { code: 'LAYER_LIMIT' });
  await writer.append(bytesOfSize(900_000), 900_000);
  await assert.rejects(writer.append(bytesOfSize(900_000), 900_000), { code: 'LAYER_LIMIT' });
});

test('inodes whose time is the most frequent one are compact, wherever they come among the others', async () => {
  await using scratch = await Scratch.create();
  const [common, rare] = [META, { ...META, mtimeSeconds: 1 }];
  const metadata = [rare, common, rare, common, common, rare, common];
  await using reader = await written(scratch, async (writer) => {
    const files: [ByteString, LayerNode][] = [];
    for (const [index, meta] of metadata.entries()) {
      files.push([`f${index}`, { type: 'file', ...meta, content: await writer.append(bytesOfSize(1), 1) }]);
    }
    return files;
  });
  for (const [index, { mtimeSeconds }] of metadata.entries()) {
    const inode = await get(reader, `f${index}`);
    assert.deepEqual([inode.mtimeSeconds, inode.mtimeNanoseconds], [mtimeSeconds, META.mtimeNanoseconds]);
    assert.equal(inode.inodeBytes, mtimeSeconds === META.mtimeSeconds ? COMPACT_INODE_BYTES : EXTENDED_INODE_BYTES);
  }
});

test('inodes that are read together, in any order, are those that are read one by one', async () => {
  await using scratch = await Scratch.create();
  const count = 6_000;
  await using reader = await written(scratch, async () =>
    Array.from({ length: count }, (_, index): [ByteString, LayerNode] => [
      `link${String(index).padStart(5, '0')}`,
      { type: 'symlink', ...META, mtimeSeconds: index, target: `target ${index}` },
    ]),
  );
  const nids = (await reader.list(await reader.root())).map(({ nid }) => nid);
  const shuffled = nids.map((_, index) => nids[(index * 2_357) % count] ?? 0);
  for (const order of [nids, nids.toReversed(), shuffled, [nids[7] ?? 0, nids[7] ?? 0]]) {
    const together = await reader.inodes(order);
    assert.deepEqual(
      together.map(({ nid }) => nid),
      order,
    );
    for (const at of [0, 1, Math.floor(order.length / 2), order.length - 1]) {
      assert.deepEqual(together[at], await reader.inode(order[at] ?? 0));
    }
  }
  const times = (await reader.inodes(nids)).map(({ mtimeSeconds }) => mtimeSeconds);
  assert.deepEqual(
    times,
    Array.from({ length: count }, (_, index) => index),
  );
});

test('a full disk is DISK_FULL, other errors stay what they are', () => {
  for (const code of ['ENOSPC', 'EDQUOT']) {
    const cause = Object.assign(new Error('full'), { code });
    const full = fullDiskFault(cause);
    assert.ok(isFault(full, 'DISK_FULL'));
    assert.equal(full.cause, cause);
  }
  for (const other of [undefined, null, 'text', new Error('plain')]) assert.equal(fullDiskFault(other), other);
  assert.equal((fullDiskFault(Object.assign(new Error('io'), { code: 'EIO' })) as { code: string }).code, 'EIO');
});

test('a reader refuses a file that is missing, cut off, or not a layer', async () => {
  await using scratch = await Scratch.create();
  await assert.rejects(LayerReader.open({ path: scratch.path(), bytes: 8192 }), { code: 'STORE_CORRUPT' });
  await assert.rejects(LayerReader.open({ path: import.meta.filename, bytes: 8192 }), { code: 'STORE_CORRUPT' });
});

test('metadata may end anywhere in a block, also with it', async () => {
  await using scratch = await Scratch.create();
  const ends = new Set<number>();
  for (let count = 100; count < 164; count += 1) {
    // Owners beyond 16 bits double the size of the inodes, so that they end with a block for one of the counts.
    const fifos = Array.from({ length: count }, (_, index): [ByteString, LayerNode] => [
      `${index}`.padStart(3, '0'),
      { type: 'fifo', ...META, uid: 70_000, mtimeSeconds: index },
    ]);
    await using reader = await written(scratch, async () => fifos);
    const last = await get(reader, `${count - 1}`.padStart(3, '0'));
    ends.add((last.nid * 32 + last.inodeBytes) % 4096);
  }
  assert.ok(ends.has(0));
});
