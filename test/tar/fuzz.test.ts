import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { Tree } from '../../src/layers/tree.ts';
import { isFault } from '../../src/contract/errors.ts';
import { Scratch } from '../support/layers.ts';
import { fuzzRounds, Random } from '../support/random.ts';
import { streamOf, tarOf } from '../support/tar.ts';
import { startCpuWatch } from '../support/time/stopwatch.ts';

const ARCHIVE = tarOf([
  { path: 'd/', flag: '5', mode: 0o755 },
  {
    path: 'd/f',
    content: 'x'.repeat(700),
    pax: { path: `d/${'n'.repeat(120)}`, 'SCHILY.xattr.user.a': 'b', mtime: '1.5' },
  },
  { path: '././@LongLink', flag: 'L', content: `d/${'m'.repeat(150)}\0` },
  { path: 'cut', content: 'y' },
  { path: 'd/h', flag: '1', linkname: 'd/f' },
  { path: 'd/l', flag: '2', linkname: 'f' },
  { path: 'd/c', flag: '3', device: [1, 3] },
  { path: 'd/.wh.gone' },
  { path: 'g', flag: 'g', content: '9 uid=77\n' },
  { path: 'holes', content: 'z', pax: { 'GNU.sparse.size': '9000', 'GNU.sparse.map': '4000,1,9000,0' } },
  {
    path: 'more-holes',
    content: `${'2\n0\n1\n900\n2\n'.padEnd(512, '\0')}xyz`,
    pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '1000' },
  },
  { path: 'last', content: 'z'.repeat(1_500) },
]);

/** Gives every block that looks like a header a correct checksum, so that the damage passes the check. */
function repairChecksums(tar: Buffer): void {
  for (let at = 0; at + 512 <= tar.length; at += 512) {
    const header = tar.subarray(at, at + 512);
    if (header.toString('latin1', 257, 262) !== 'ustar') continue;
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
}

/** Builds a layer of damaged bytes; it must be refused with a fault of ours, leaving no file, or be readable. */
async function fuzz(usual: number, damage: (random: Random) => Buffer): Promise<number> {
  const seeds = fuzzRounds(usual);
  await using scratch = await Scratch.create();
  let refused = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const random = new Random(seed);
    const path = scratch.path();
    const cpuMs = startCpuWatch();
    try {
      const built = await buildLayer(streamOf(damage(random), 4_096), path, { bytesMax: 50_000_000 });
      await using tree = await Tree.open([{ path, ...built }]);
      for await (const { node } of tree.walk()) await tree.xattrs(node);
    } catch (error) {
      assert.ok(isFault(error, 'LAYER_MALFORMED', 'LAYER_LIMIT'), `seed ${seed}: ${String(error)}`);
      refused++;
    }
    assert.ok(cpuMs() < 2_000, `seed ${seed} is slow`);
  }
  assert.equal((await readdir(scratch.folder)).length, seeds - refused, 'refused layers leave no file');
  return refused;
}

test('damaged archives with correct checksums are refused or read, never more', async () => {
  const refused = await fuzz(800, (random) => {
    const tar = Buffer.from(ARCHIVE);
    random.mutate(tar, 0);
    repairChecksums(tar);
    return tar;
  });
  assert.ok(refused > 50, `${refused} refused`);
});

test('damaged compressed archives are refused or read, never more', async () => {
  const compressed = [gzipSync(ARCHIVE), zstdCompressSync(ARCHIVE)] as const;
  const refused = await fuzz(400, (random) => {
    const bytes = Buffer.from(random.pick(compressed));
    if (random.below(4) === 0) return bytes.subarray(0, random.below(bytes.length));
    random.mutate(bytes, 4);
    return bytes;
  });
  assert.ok(refused > 200, `${refused} refused`);
});
