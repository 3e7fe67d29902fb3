import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyQcow2, qcow2BytesMax, vmdkDescriptor } from '../../../src/sandbox/microvm/vm/disk-image.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

test('vmdkDescriptor() lines descriptors up, in sectors', () => {
  const text = vmdkDescriptor([
    { descriptor: 14, bytes: 8_192 },
    { descriptor: 15, bytes: GIB },
  ]).toString();
  assert.equal(
    text,
    [
      '# Disk DescriptorFile',
      'version=1',
      'CID=fffffffe',
      'parentCID=ffffffff',
      'createType="monolithicFlat"',
      'RW 16 FLAT "/dev/fdset/14" 0',
      'RW 2097152 FLAT "/dev/fdset/15" 0',
      '',
    ].join('\n'),
  );
});

test('vmdkDescriptor() takes no file that does not end with a sector', () => {
  assert.throws(() => vmdkDescriptor([{ descriptor: 14, bytes: 513 }]), /whole sectors/u);
});

test('emptyQcow2() is a version 3 image of that size, names no backing file, and has a count for each of its clusters', () => {
  for (const bytes of [64 * MIB, 66 * GIB, 2_048 * GIB]) {
    const image = emptyQcow2(bytes);
    const clusters = image.length / 65_536;
    assert.equal(image.subarray(0, 4).toString('latin1'), 'QFI\xfb');
    assert.equal(image.readUInt32BE(4), 3);
    assert.equal(image.readBigUInt64BE(8), 0n, 'no backing file');
    assert.equal(image.readBigUInt64BE(24), BigInt(bytes));
    assert.ok(image.readUInt32BE(36) * 8_192 * 65_536 >= bytes, 'the L1 table covers the disk');
    const counts = Array.from({ length: clusters + 1 }, (_, index) => image.readUInt16BE(2 * 65_536 + 2 * index));
    assert.deepEqual(counts, [...Array.from({ length: clusters }, () => 1), 0]);
  }
});

test('qcow2BytesMax() leaves room for tables and half-used clusters, and is a bound all the same', () => {
  assert.ok(qcow2BytesMax(GIB) > GIB + 64 * MIB);
  assert.ok(qcow2BytesMax(GIB) < 2 * GIB);
});
