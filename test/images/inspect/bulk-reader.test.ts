import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BulkReader, STRETCH_BYTES } from '../../../src/images/inspect/bulk-reader.ts';
import { Tree } from '../../../src/layers/tree.ts';
import { defined } from '../../../src/std/assert.ts';
import { layerOf, Scratch } from '../../support/layers.ts';
import { tarOf } from '../../support/tar.ts';

test('memory of a reader that is disposed of in the middle of a read is not used again before that has ended', async () => {
  await using scratch = await Scratch.create();
  const contents = ['a', 'b'].map((letter) => Buffer.alloc(STRETCH_BYTES, letter));
  const members = contents.map((content, index) => ({ path: `f${index}`, content }));
  await using tree = await Tree.open([await layerOf(scratch, tarOf(members))]);
  const stretches = await Promise.all(
    members.map(async ({ path }) => ({ node: defined(await tree.find(tree.root, path), 'it is there'), offset: 0 })),
  );
  for (let round = 0; round < 20; round++) {
    const left = new BulkReader();
    const abandoned = left.read(stretches.slice(0, 1));
    await left[Symbol.asyncDispose]();
    await using next = new BulkReader();
    const [[blocks] = []] = await next.read(stretches.slice(1));
    await abandoned;
    assert.ok(blocks?.equals(defined(contents[1], 'two contents')));
  }
});
