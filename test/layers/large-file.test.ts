import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { test } from 'node:test';
import { LayerBuilder } from '../../src/layers/layer-builder.ts';
import { Tree } from '../../src/layers/tree.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import { Scratch } from '../support/layers.ts';

test('a file of more than 4 GiB keeps its size and every byte', async () => {
  await using scratch = await Scratch.create();
  const path = scratch.path();
  const size = 4 * 1024 ** 3 + 4097;
  const zeros = Buffer.alloc(8 * 1024 * 1024);
  const content = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from('first');
    for (let left = size - 9; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length));
    yield Buffer.from('last');
  };
  await using builder = await LayerBuilder.create(path);
  const metadata = { mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
  await builder.add('large', { ...metadata, type: 'file', size, content: content() });
  const { bytes } = await builder.finish();
  await using tree = await Tree.open([{ path, bytes }]);
  const node = await tree.find(tree.root, 'large');
  assert.ok(node !== undefined && node.size === size);
  assert.equal((await tree.read(node, 0, 6)).toString(), 'first\0');
  assert.equal((await tree.read(node, size - 5, 100)).toString(), '\0last');
  assert.equal((await tree.read(node, 2 ** 32 - 2, 4)).toString('hex'), '00000000');
  const { blocks } = await stat(path);
  assert.ok(blocks * 512 < 1024 ** 2, 'zeros take no space');
});
