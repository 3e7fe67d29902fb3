import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeXattrs, encodeXattrs, xattrAreaBytes } from '../../src/erofs/xattr.ts';

const NOTE = new Map([['user.note', Buffer.from('kept')]]);

function encoded(xattrs: ReadonlyMap<string, Uint8Array>): Buffer {
  const area = Buffer.alloc(xattrAreaBytes(xattrs));
  encodeXattrs(area, 0, xattrs);
  return area;
}

test('an area is written as the format has it, whatever the order of the names', () => {
  const area = encoded(NOTE);
  // Header of 12 bytes, then: length of the name, its prefix, length of the value, name, value, padding to 4.
  assert.equal(area.toString('hex'), `${'00'.repeat(12)}04010400${Buffer.from('notekept').toString('hex')}`);
  const two: [string, Uint8Array][] = [
    ['user.b', Buffer.from('1')],
    ['trusted.a', Buffer.from('22')],
  ];
  assert.deepEqual(encoded(new Map(two)), encoded(new Map(two.toReversed())));
  assert.equal(xattrAreaBytes(new Map()), 0);
  assert.equal(decodeXattrs(Buffer.alloc(0)).size, 0);
});

test('an area that is cut off anywhere, or names what nobody knows, is damaged', () => {
  const area = encoded(NOTE);
  for (let length = 1; length < area.length; length += 1) {
    if (length === 12) assert.equal(decodeXattrs(area.subarray(0, length)).size, 0, 'a header alone holds none');
    else assert.throws(() => decodeXattrs(area.subarray(0, length)), { code: 'STORE_CORRUPT' }, `${length} bytes`);
  }
  const shared = Buffer.from(area);
  shared[4] = 1;
  assert.throws(() => decodeXattrs(shared), { code: 'STORE_CORRUPT' });
  const unknown = Buffer.from(area);
  unknown[13] = 99;
  assert.throws(() => decodeXattrs(unknown), { code: 'STORE_CORRUPT' });
});

test('values are copies: what they were read from may change', () => {
  const area = encoded(NOTE);
  const value = decodeXattrs(area).get('user.note');
  area.fill(0);
  assert.equal(Buffer.from(value ?? []).toString(), 'kept');
});
