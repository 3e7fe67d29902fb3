import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TarEntry, TarReader } from '../../src/tar/reader.ts';
import { collect } from '../../src/std/bytes.ts';
import { memberOf, streamOf, type TarMember, tarOf } from '../support/tar.ts';

interface Read extends TarEntry {
  readonly content: string;
}

async function readBytes(bytes: Uint8Array, chunkBytes?: number): Promise<Read[]> {
  const reader = new TarReader(streamOf(bytes, chunkBytes));
  const entries: Read[] = [];
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    entries.push({ ...entry, content: (await collect(reader.content(), 1e7)).toString('latin1') });
  }
  return entries;
}

async function readOne(member: TarMember): Promise<Read> {
  const [entry, ...more] = await readBytes(tarOf([member]));
  assert.ok(entry !== undefined && more.length === 0);
  return entry;
}

async function refuses(members: readonly TarMember[], message: RegExp, code = 'LAYER_MALFORMED'): Promise<void> {
  await assert.rejects(readBytes(tarOf(members)), { code, message });
}

test('members come in order with all their attributes, however the stream is cut', async () => {
  const tar = tarOf([
    { path: 'a', content: 'x'.repeat(1_000), mode: 0o4755, uid: 5, gid: 6, mtime: 77 },
    { path: 'd/', flag: '5', mode: 0o1777 },
    { path: 'l', flag: '2', linkname: '/to' },
    { path: 'h', flag: '1', linkname: 'a' },
    { path: 'c', flag: '3', device: [1, 3] },
    { path: 'b', flag: '4', device: [8, 17] },
    { path: 'p', flag: '6' },
    { path: 'contiguous', flag: '7', content: 'seven' },
    { path: 'old', flag: '\0', content: 'v7' },
    { path: 'old-directory/', flag: '\0' },
  ]);
  const whole = await readBytes(tar, 1e6);
  assert.deepEqual(
    whole.map(({ path, type, content }) => [path, type, content.length]),
    [
      ['a', 'file', 1_000],
      ['d/', 'directory', 0],
      ['l', 'symlink', 0],
      ['h', 'link', 0],
      ['c', 'character', 0],
      ['b', 'block', 0],
      ['p', 'fifo', 0],
      ['contiguous', 'file', 5],
      ['old', 'file', 2],
      ['old-directory/', 'directory', 0],
    ],
  );
  const [a, , l, , , b] = whole;
  assert.deepEqual([a?.mode, a?.uid, a?.gid, a?.mtimeSeconds, a?.mtimeNanoseconds], [0o4755, 5, 6, 77, 0]);
  assert.deepEqual([l?.linkpath, b?.major, b?.minor], ['/to', 8, 17]);
  for (const chunkBytes of [1, 7, 511, 513]) assert.deepEqual(await readBytes(tar, chunkBytes), whole);
});

test('a member whose content nobody reads is skipped', async () => {
  const reader = new TarReader(streamOf(tarOf([{ path: 'a', content: 'x'.repeat(5_000) }, { path: 'b' }])));
  assert.equal((await reader.next())?.path, 'a');
  assert.equal((await reader.next())?.path, 'b');
  assert.equal(await reader.next(), undefined);
  assert.equal(await reader.next(), undefined);
});

test('PAX records replace header fields, and are bytes', async () => {
  const value = Buffer.from([1, 0, 0, 2, 0xff, 0x80, 0x3d, 0x0a]).toString('latin1');
  const entry = await readOne({
    path: 'short',
    content: 'abc',
    pax: {
      path: `d/${'\xe9'.repeat(300)}`,
      uid: '4000000000',
      gid: '3000000000',
      size: '3',
      mtime: '1700000000.123456789999',
      'SCHILY.xattr.security.capability': value,
      'SCHILY.xattr.user.empty': '',
      'SCHILY.xattr.com.apple.quarantine': 'not for Linux',
      'SCHILY.xattr.trusted.overlay.redirect': '/etc',
      comment: 'ignored',
    },
  });
  assert.equal(entry.path, `d/${'\xe9'.repeat(300)}`);
  assert.deepEqual([entry.uid, entry.gid], [4_000_000_000, 3_000_000_000]);
  assert.deepEqual([entry.mtimeSeconds, entry.mtimeNanoseconds], [1_700_000_000, 123_456_789]);
  assert.equal(entry.content, 'abc');
  assert.deepEqual(
    [...entry.xattrs].map(([name, bytes]) => [name, Buffer.from(bytes).toString('latin1')]),
    [
      ['security.capability', value],
      ['user.empty', ''],
    ],
  );
});

test('times before 1970 and without a fraction are exact', async () => {
  const times = { '-1.75': [-2, 250_000_000], '-3': [-3, 0], '12.': [12, 0], '0.5': [0, 500_000_000] };
  for (const [mtime, expected] of Object.entries(times)) {
    const { mtimeSeconds, mtimeNanoseconds } = await readOne({ path: 'a', pax: { mtime } });
    assert.deepEqual([mtimeSeconds, mtimeNanoseconds], expected, mtime);
  }
});

test('global headers hold for all that follows until a local one says otherwise', async () => {
  const global = memberOf({ path: 'g', flag: 'g', content: '9 uid=77\n18 comment=global\n' });
  const bytes = Buffer.concat([
    global,
    memberOf({ path: 'a' }),
    memberOf({ path: 'b', uid: 3, pax: { uid: '5' } }),
    memberOf({ path: 'c', uid: 4, pax: { uid: '' } }),
    Buffer.alloc(1024),
  ]);
  assert.deepEqual(
    (await readBytes(bytes)).map(({ uid }) => uid),
    [77, 5, 4],
  );
});

test('GNU long names and the ustar prefix are read, the GNU prefix area is not a name', async () => {
  const long = `${'n'.repeat(200)}/${'m'.repeat(200)}`;
  const [entry] = await readBytes(
    tarOf([
      { path: '././@LongLink', flag: 'L', content: `${long}\0` },
      { path: '././@LongLink', flag: 'K', content: `${long}-target\0` },
      { path: 'cut', flag: '2', linkname: 'cut' },
    ]),
  );
  assert.deepEqual([entry?.path, entry?.linkpath], [long, `${long}-target`]);
  assert.equal((await readOne({ path: 'name', patch: { 345: 'some/prefix' } })).path, 'some/prefix/name');
  assert.equal((await readOne({ path: 'name', patch: { 257: 'ustar  \0', 345: '14000000000' } })).path, 'name');
  assert.equal((await readOne({ path: 'n'.repeat(100) })).path, 'n'.repeat(100), 'a name without a final zero byte');
});

test('numbers in base 256 and with odd padding are read', async () => {
  const base256 = '\x80\x00\x00\x00\xee\x6b\x28\x00';
  assert.equal((await readOne({ path: 'a', patch: { 108: base256 } })).uid, 4_000_000_000);
  assert.equal((await readOne({ path: 'a', patch: { 136: `${'\xff'.repeat(11)}\xfe` } })).mtimeSeconds, -2);
  assert.equal((await readOne({ path: 'a', patch: { 100: '   644 \0' } })).mode, 0o644);
  await refuses([{ path: 'a', patch: { 124: '\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff' } }], /invalid size/u);
  await refuses([{ path: 'a', patch: { 124: '\xff'.repeat(12) } }], /negative size/u);
  await refuses([{ path: 'a', patch: { 108: '\xff'.repeat(8) } }], /32 bits/u);
  await refuses([{ path: 'a', patch: { 100: '00008\0\0\0' } }], /invalid mode/u);
});

test('sizes in headers of links and directories mean nothing, as in Go', async () => {
  const entries = await readBytes(
    tarOf([
      { path: 'd/', flag: '5', size: 4096 },
      { path: 'l', flag: '2', linkname: 'x', size: 1 },
      { path: 'h', flag: '1', linkname: 'x', size: 700 },
      { path: 'f', content: 'f' },
    ]),
  );
  assert.deepEqual(
    entries.map(({ path, size }) => [path, size]),
    [
      ['d/', 0],
      ['l', 0],
      ['h', 0],
      ['f', 1],
    ],
  );
});

test('two sizes that differ are refused; a size only PAX can say is not', async () => {
  await refuses([{ path: 'a', content: 'x'.repeat(600), pax: { size: '512' } }], /two different sizes/u);
  await refuses([{ path: 'a', content: 'x'.repeat(600), pax: { size: '1112' } }], /two different sizes/u);
  assert.equal(
    (await readOne({ path: 'a', content: 'x'.repeat(600), size: 0, pax: { size: '600' } })).content.length,
    600,
  );
});

test('sparse members without a correct map are refused, whatever way they are announced', async () => {
  const map = (lines: string): string => lines.padEnd(512, '\0');
  const version = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' };
  const first = { 'GNU.sparse.size': '9' };
  const bad: readonly TarMember[] = [
    { path: 'a', flag: 'S', content: 'x' },
    { path: 'a', pax: { 'GNU.sparse.major': '1' } },
    { path: 'a', pax: { ...version, 'GNU.sparse.major': '2' } },
    { path: 'a', pax: { 'GNU.sparse.map': '0,1,'.repeat(100_000) } },
    { path: 'a', pax: { 'GNU.sparse.name': 'b' } },
    { path: 'a', content: 'x', pax: { ...first, 'GNU.sparse.map': '0' } },
    { path: 'a', content: 'x', pax: { ...first, 'GNU.sparse.map': '9,1' } },
    { path: 'a', content: 'xx', pax: { ...first, 'GNU.sparse.map': '1,1,1,1' } },
    { path: 'a', content: 'x', pax: { ...first, 'GNU.sparse.map': '-1,1' } },
    { path: 'a', content: 'xx', pax: { ...first, 'GNU.sparse.map': '0,1' } },
    { path: 'a', content: '', pax: { ...first, 'GNU.sparse.map': '0,1' } },
    { path: 'a', content: '1\n0\n1\nx', pax: version },
    { path: 'a', content: map('x\n'), pax: version },
    { path: 'a', content: map('1\n0\n'), pax: version },
    { path: 'a', content: map('1\n0\n2\n') + 'x', pax: version },
    { path: 'a', content: map('99999999999999999\n'), pax: version },
  ];
  for (const member of bad) await refuses([member], /sparse/u);
});

test('maps of sparse members are bounded', async () => {
  const version = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' };
  const endless = { path: 'a', content: `400000\n${'0\n'.repeat(2 ** 20)}`, pax: version };
  await refuses([endless], /sparse map/u, 'LAYER_LIMIT');
});

test('records that are not well-formed are refused', async () => {
  const bad = [
    '',
    'x',
    '5 a=b',
    '999 a=b\n',
    '6 a=b\nx',
    '0 a=b\n',
    '-6 a=b\n',
    '6a=b\n',
    '5 =b\n',
    '5 abc',
    '11111111111 a=b\n',
  ];
  for (const content of bad.slice(1)) {
    await assert.rejects(readBytes(tarOf([{ path: 'x', flag: 'x', content }, { path: 'a' }])), {
      code: 'LAYER_MALFORMED',
    });
  }
  for (const [key, value] of Object.entries({
    size: '-1',
    uid: '1e3',
    gid: ' 1',
    mtime: '1.2.3',
    path: 'a\0b',
    linkpath: '\0',
  })) {
    await refuses([{ path: 'a', flag: '2', linkname: 'b', pax: { [key]: value } }], new RegExp(key, 'u'));
  }
  await refuses([{ path: 'a', pax: { uid: '4294967296' } }], /32 bits/u);
});

test('headers are bounded before they are read', async () => {
  await refuses([{ path: 'x', flag: 'x', size: 2 ** 30 }], /1048576 bytes of an extended header/u, 'LAYER_LIMIT');
  await refuses([{ path: 'x', flag: 'L', size: 2 ** 30 }], /extended header/u, 'LAYER_LIMIT');
  const half = 'y'.repeat(600_000);
  const two = [
    { path: 'x', flag: 'x', content: `600013 key1=${half}\n` },
    { path: 'x', flag: 'x', content: `600013 key2=${half}\n` },
  ];
  await refuses([...two, { path: 'a' }], /extended header/u, 'LAYER_LIMIT');
  await refuses(
    two.map((member) => ({ ...member, flag: 'g' })),
    /extended header/u,
    'LAYER_LIMIT',
  );
  await refuses([{ path: 'a', pax: { 'SCHILY.xattr.user.a': 'v'.repeat(65_536) } }], /xattrs/u, 'LAYER_LIMIT');
});

test('global records that would move or rename every entry are refused', async () => {
  for (const content of ['10 path=a\n', '10 size=1\n', '14 linkpath=a\n', '22 GNU.sparse.major=1\n']) {
    await refuses([{ path: 'g', flag: 'g', content }, { path: 'a' }], /global|record/u);
  }
});

test('an archive that is cut off inside a member or the end mark is refused', async () => {
  const tar = tarOf([{ path: 'a', content: 'x'.repeat(600), pax: { uid: '1' } }]);
  const complete = tar.length - 1024;
  for (let length = 100; length < tar.length - 512; length += 100) {
    if (length === complete) continue;
    await assert.rejects(readBytes(tar.subarray(0, length)), { code: 'LAYER_MALFORMED' }, `${length} bytes`);
  }
  await assert.rejects(readBytes(tar.subarray(0, complete - 1)), { code: 'LAYER_MALFORMED' }, 'padding is missing');
});

test('the end mark may be short or missing behind a complete member', async () => {
  const tar = tarOf([{ path: 'a', content: 'x'.repeat(600), pax: { uid: '1' } }, { path: 'b' }]);
  for (const missing of [512, 1024]) {
    const members = await readBytes(tar.subarray(0, tar.length - missing));
    assert.deepEqual(
      members.map(({ path }) => path),
      ['a', 'b'],
      `${missing} bytes`,
    );
  }
  assert.deepEqual(await readBytes(Buffer.alloc(0)), [], 'no members at all');
});

test('data behind the end mark is refused, zeros are not', async () => {
  const tar = tarOf([{ path: 'a' }]);
  assert.equal((await readBytes(Buffer.concat([tar, Buffer.alloc(9_000)]))).length, 1);
  await assert.rejects(readBytes(Buffer.concat([tar, memberOf({ path: 'b' })])), { message: /behind the end/u });
  await assert.rejects(readBytes(Buffer.concat([tar, Buffer.alloc(9_000), Buffer.from('x')])), { message: /behind/u });
});

test('a damaged header and an unknown type are refused', async () => {
  const tar = tarOf([{ path: 'a' }]);
  tar[0] = 0x62;
  await assert.rejects(readBytes(tar), { message: /checksum/u });
  await refuses([{ path: 'a', flag: 'M' }], /type "M"/u);
  await assert.rejects(
    readBytes(Buffer.concat([memberOf({ path: 'x', flag: 'x', content: '9 uid=77\n' }), Buffer.alloc(1024)])),
    {
      message: /without an entry/u,
    },
  );
});
