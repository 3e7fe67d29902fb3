import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeSuperblock, encodeSuperblock, type Superblock, readUInt64 } from '../../src/erofs/format.ts';

const BLOCK_BYTES = 4096;
const GOOD: Superblock = {
  rootNid: 1,
  inodes: 2 ** 40,
  epochSeconds: -1,
  epochNanoseconds: 999_999_999,
  blocks: 10,
  metaBlock: 9,
  uuid: Uint8Array.from({ length: 16 }, (_, index) => index),
  plain: true,
};

function decoded(superblock: Superblock, fileBytes = superblock.blocks * BLOCK_BYTES): Superblock {
  return decodeSuperblock(encodeSuperblock(superblock), fileBytes);
}

test('a superblock is read as it was written', () => {
  for (const plain of [true, false]) {
    const superblock = decoded({ ...GOOD, plain });
    assert.deepEqual({ ...superblock, uuid: Uint8Array.from(superblock.uuid) }, { ...GOOD, plain });
  }
});

test('a superblock whose file is longer or shorter than its blocks is refused', () => {
  for (const bytes of [9 * BLOCK_BYTES, 10 * BLOCK_BYTES - 1, 10 * BLOCK_BYTES + 1, 11 * BLOCK_BYTES]) {
    assert.throws(() => decoded(GOOD, bytes), { code: 'STORE_CORRUPT', message: /10 blocks in \d+ bytes/u });
  }
});

test('metadata in the first block or beyond the last one is refused', () => {
  for (const metaBlock of [0, 10, 11, 0xffff_ffff]) {
    assert.throws(() => decoded({ ...GOOD, metaBlock }), { code: 'STORE_CORRUPT', message: /metadata outside/u });
  }
  assert.equal(decoded({ ...GOOD, metaBlock: 1 }).metaBlock, 1);
});

test('a short block, another magic and a wrong checksum are told apart', () => {
  const block = encodeSuperblock(GOOD);
  const fails = (bytes: Buffer, message: RegExp): void =>
    assert.throws(() => decodeSuperblock(bytes, 10 * BLOCK_BYTES), { code: 'STORE_CORRUPT', message });
  fails(block.subarray(0, BLOCK_BYTES - 1), /shorter than one block/u);
  fails(Buffer.alloc(BLOCK_BYTES), /no EROFS superblock/u);
  const changed = Buffer.from(block);
  changed.writeUInt16LE(2, 1024 + 14);
  fails(changed, /wrong superblock checksum/u);
});

test('a number of 64 bits is read up to the largest that JavaScript has exactly', () => {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(Number.MAX_SAFE_INTEGER), 8);
  assert.equal(readUInt64(bytes, 8), Number.MAX_SAFE_INTEGER);
  bytes.writeBigUInt64LE(2n ** 53n, 8);
  assert.throws(() => readUInt64(bytes, 8), { code: 'STORE_CORRUPT' });
});
