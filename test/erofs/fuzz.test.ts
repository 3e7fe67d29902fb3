import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { walkLayer } from '../../src/layers/layer-walk.ts';
import { isFault } from '../../src/contract/errors.ts';
import { decodeSuperblock, encodeSuperblock } from '../../src/erofs/format.ts';
import { LayerReader } from '../../src/erofs/reader.ts';
import { layerOf, Scratch } from '../support/layers.ts';
import { fuzzRounds, Random } from '../support/random.ts';
import { type TarMember, tarOf } from '../support/tar.ts';
import { startCpuWatch } from '../support/time/stopwatch.ts';

const MEMBERS: readonly TarMember[] = [
  { path: 'd/', flag: '5', mode: 0o755 },
  { path: 'd/e/', flag: '5', pax: { 'SCHILY.xattr.user.a': 'b' } },
  { path: 'd/e/f', content: 'x'.repeat(9_000) },
  { path: 'd/small', content: 'y'.repeat(99), pax: { 'SCHILY.xattr.security.capability': '\x01\x02\xff' } },
  { path: 'd/link', flag: '2', linkname: 'e/f' },
  { path: 'd/dev', flag: '3', device: [4, 70_000] },
  ...Array.from({ length: 150 }, (_, index) => ({ path: `many/${'n'.repeat(60)}${index}`, content: `${index}` })),
];

/** Reads everything in the layer. Returns the number of files. */
async function readAll(path: string, bytes: number): Promise<number> {
  await using reader = await LayerReader.open({ path, bytes });
  let files = 0;
  for await (const { inode } of walkLayer(reader)) {
    files++;
    await reader.xattrs(inode);
    if (inode.type === 'symlink') await reader.readlink(inode);
    if (inode.type === 'file') for await (const chunk of reader.stream(inode)) assert.ok(chunk.length > 0);
    if (inode.type === 'directory') await reader.find(inode, 'small');
  }
  return files;
}

/** Runs `change` on copies of a good layer, one per seed; reading must succeed or fail with a fault of ours. */
async function fuzz(seeds: number, change: (random: Random, image: Buffer) => void): Promise<number> {
  await using scratch = await Scratch.create();
  const layer = await layerOf(scratch, tarOf(MEMBERS));
  const good = await readFile(layer.path);
  const path = scratch.path();
  let refused = 0;
  for (let seed = 1; seed <= fuzzRounds(seeds); seed++) {
    const image = Buffer.from(good);
    change(new Random(seed), image);
    await writeFile(path, image);
    const cpuMs = startCpuWatch();
    try {
      const files = await readAll(path, image.length);
      assert.ok(files <= 2_000, `seed ${seed}: ${files} files`);
    } catch (error) {
      assert.ok(isFault(error, 'STORE_CORRUPT'), `seed ${seed}: ${String(error)}`);
      refused++;
    }
    assert.ok(cpuMs() < 2_000, `seed ${seed} is slow`);
  }
  return refused;
}

test('damaged metadata is refused or read, in bounded time, never more', async () => {
  const refused = await fuzz(1_500, (random, image) => {
    const { metaBlock } = decodeSuperblock(image, image.length);
    // Directory blocks precede the inodes.
    random.mutate(image, (metaBlock - 3) * 4096);
  });
  assert.ok(refused > 100, `${refused} refused`);
});

test('a damaged superblock with a correct checksum is refused or read', async () => {
  const refused = await fuzz(300, (random, image) => {
    const { ...superblock } = decodeSuperblock(image, image.length);
    const fields = ['rootNid', 'blocks', 'metaBlock', 'epochNanoseconds'] as const;
    const field = random.pick(fields);
    const value = random.pick([0, 1, 2, 3, 0xffff, random.below(0x10000)]);
    encodeSuperblock({ ...superblock, [field]: value }).copy(image);
  });
  assert.ok(refused > 100, `${refused} refused`);
});

test('a superblock that does not match its checksum is refused', async () => {
  const refused = await fuzz(50, (random, image) => {
    const at = 1024 + random.below(128);
    image[at] = (image[at] ?? 0) ^ (1 << random.below(8));
  });
  assert.equal(refused, fuzzRounds(50));
});

/** Returns a good layer in which the bytes of one inode were changed by hand. */
async function withInode(scratch: Scratch, name: string, change: (inode: Buffer) => void): Promise<LayerReader> {
  const layer = await layerOf(scratch, tarOf(MEMBERS));
  const image = await readFile(layer.path);
  await using good = await LayerReader.open(layer);
  const entry = await good.find(await good.root(), name);
  const { metaBlock } = decodeSuperblock(image, image.length);
  change(image.subarray(metaBlock * 4096 + (entry?.nid ?? 0) * 32));
  const path = scratch.path();
  await writeFile(path, image);
  return LayerReader.open({ path, bytes: image.length });
}

async function walkAll(reader: LayerReader): Promise<void> {
  for await (const { inode } of walkLayer(reader)) await reader.xattrs(inode);
}

test('sizes beyond the file and beyond all numbers are refused before anything is allocated', async () => {
  await using scratch = await Scratch.create();
  for (const high of [1, 0x1f_ffff, 0x20_0000, 0x8000_0000, 0xffff_ffff]) {
    await using reader = await withInode(scratch, 'many', (inode) => {
      inode[0] = (inode[0] ?? 0) | 1;
      inode.writeUInt32LE(high, 12);
    });
    await assert.rejects(walkAll(reader), { code: 'STORE_CORRUPT' }, `size ${high} × 2^32`);
  }
});

test('a directory that contains the root again is refused', async () => {
  await using scratch = await Scratch.create();
  await using reader = await withInode(scratch, 'd', (inode) => {
    const extended = (inode.readUInt16LE(0) & 1) === 1;
    const entries = inode.subarray(extended ? 64 : 32);
    // Entry 3 follows ".", ".." and "dev"; it is "e". The root has the first nid.
    entries.writeUInt32LE(1, 3 * 12);
  });
  await assert.rejects(walkAll(reader), { code: 'STORE_CORRUPT', message: /loop/u });
});
