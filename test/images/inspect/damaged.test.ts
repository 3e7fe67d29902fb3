import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { Tree } from '../../../src/layers/tree.ts';
import { isFault } from '../../../src/contract/errors.ts';
import { diff } from '../../../src/images/inspect/diff.ts';
import { grep } from '../../../src/images/inspect/grep/grep.ts';
import { archive, listDirectory, openFile, stat } from '../../../src/images/inspect/view.ts';
import { imageOf, layerOf, Scratch } from '../../support/layers.ts';
import { fuzzRounds, Random } from '../../support/random.ts';
import { tarOf, type TarMember } from '../../support/tar.ts';
import { startCpuWatch } from '../../support/time/stopwatch.ts';

const MEMBERS: readonly TarMember[] = [
  { path: 'etc/passwd', content: 'root:x:0:0::/:/bin/sh\n' },
  ...Array.from({ length: 300 }, (_, index) => ({
    path: `d${index % 7}/e/f${index}`,
    content: `content ${index}\n`.repeat(index),
  })),
  { path: 'link', flag: '2', linkname: 'd1/e' },
];

const ROUNDS = fuzzRounds(80);

/** Runs all inspections of an image; what fails must fail with a fault, and soon. */
async function lookInto(damaged: { path: string; bytes: number }, whole: Tree): Promise<void> {
  await using tree = await Tree.open([damaged]);
  const looks: readonly (() => Promise<unknown>)[] = [
    () => listDirectory(tree, '/'),
    () => listDirectory(tree, '/link'),
    () => stat(tree, '/d3/e/f10'),
    async () => await drain((await openFile(tree, '/d6/e/f300', { length: 1024 * 1024 })).body),
    () => grep(tree, { pattern: ['content 29\\d'] }),
    () => diff({ image: '', tree: whole }, { image: '', tree }, { patch: true }),
    async () => await drain(await archive(tree, '/')),
  ];
  for (const look of looks) {
    try {
      await look();
    } catch (error) {
      if (!isFault(error)) throw error;
    }
  }
}

async function drain(body: AsyncIterable<Uint8Array>): Promise<void> {
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > 64 * 1024 * 1024) return;
  }
}

test('whatever is done to a layer, looking into it answers or faults, soon and in bounded memory', async () => {
  await using scratch = await Scratch.create();
  const [layer] = (await imageOf(scratch, MEMBERS)) as [{ path: string; bytes: number }];
  await using whole = await Tree.open([layer]);
  const original = readFileSync(layer.path);
  const path = scratch.path();
  const random = new Random(19);
  let longestMs = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = Buffer.from(original);
    // After the superblock, whose checksum would detect everything; most rounds hit the metadata at the end.
    random.mutate(bytes, round % 4 === 0 ? 4096 : Math.max(4096, bytes.length - 40_000));
    writeFileSync(path, bytes);
    const cpuMs = startCpuWatch();
    try {
      await lookInto({ path, bytes: bytes.length }, whole);
    } catch (error) {
      if (!isFault(error)) throw new Error(`round ${round}`, { cause: error });
    }
    longestMs = Math.max(longestMs, cpuMs());
  }
  // Milliseconds are usual. A bound that a slow machine cannot reach still finds what does not end.
  assert.ok(longestMs < 20_000, `${longestMs} ms`);
  assert.ok(process.memoryUsage().rss < 400 * 1024 * 1024);
});

test('an image that replaces what is being read does not change what an open tree shows', async () => {
  await using scratch = await Scratch.create();
  const base = await layerOf(scratch, tarOf([{ path: 'f', content: 'old\n'.repeat(200_000) }]));
  await using tree = await Tree.open([base]);
  const { body } = await openFile(tree, '/f');
  const reading = (async (): Promise<Set<string>> => {
    const seen = new Set<string>();
    for await (const chunk of body) for (const line of Buffer.from(chunk).toString().split('\n')) seen.add(line);
    return seen;
  })();
  await layerOf(scratch, tarOf([{ path: 'f', content: 'new\n'.repeat(200_000) }]), [base]);
  const lines = [...(await reading)].filter((line) => !'old'.includes(line));
  assert.deepEqual(lines, []);
});
