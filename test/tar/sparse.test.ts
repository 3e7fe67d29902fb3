import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Tree } from '../../src/layers/tree.ts';
import { layerOf, Scratch } from '../support/layers.ts';
import { tarOf } from '../support/tar.ts';

const run = promisify(execFile);
const MIB = 1024 ** 2;

/** Writes a file of 9 MiB with `count` regions of data. */
async function withHoles(path: string, count: number): Promise<void> {
  await using file = await open(path, 'w');
  for (let index = 0; index < count; index += 1) {
    await file.write(`region ${index} `.repeat(500), Math.floor(((index + 0.5) / count) * 8 * MIB));
  }
  await file.truncate(9 * MIB);
}

for (const [name, args] of Object.entries({
  'old GNU': ['--format=gnu'],
  'PAX 0.0': ['--format=posix', '--sparse-version=0.0'],
  'PAX 0.1': ['--format=posix', '--sparse-version=0.1'],
  'PAX 1.0': ['--format=posix', '--sparse-version=1.0'],
})) {
  test(`sparse members of GNU tar are read, holes as zeros: ${name} (B3, I14)`, async () => {
    await using scratch = await Scratch.create();
    const counts = [0, 1, 3, 4, 5, 60];
    const names = counts.map((count) => `${'n'.repeat(count)}holes${count}`);
    for (const [at, count] of counts.entries()) await withHoles(join(scratch.folder, names[at] ?? ''), count);
    await writeFile(join(scratch.folder, 'plain'), 'plain');
    const archive = join(scratch.folder, 'archive.tar');
    await run('tar', ['-S', ...args, '-C', scratch.folder, '-cf', archive, ...names, 'plain']);
    const layer = await layerOf(scratch, await readFile(archive));
    await using tree = await Tree.open([layer]);
    for (const name of [...names, 'plain']) {
      const node = await tree.resolve(`/${name}`);
      const content: Buffer[] = [];
      for await (const chunk of tree.stream(node)) content.push(Buffer.from(chunk));
      assert.ok(Buffer.concat(content).equals(await readFile(join(scratch.folder, name))), name);
    }
  });
}

test('a sparse member that claims to be larger than any layer is refused before a byte of it is written', async () => {
  await using scratch = await Scratch.create();
  const size = String(2 ** 52);
  const pax = { 'GNU.sparse.size': size, 'GNU.sparse.map': `${size},0` };
  await assert.rejects(layerOf(scratch, tarOf([{ path: 'a', pax }])), { code: 'LAYER_LIMIT' });
});
