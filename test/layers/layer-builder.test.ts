import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { LayerBuilder } from '../../src/layers/layer-builder.ts';
import { Tree } from '../../src/layers/tree.ts';
import type { Metadata } from '../../src/erofs/node.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import { fsck, imageOf, listing, Scratch } from '../support/layers.ts';
import { streamOf } from '../support/tar.ts';

const META: Metadata = { mode: 0o600, uid: 1, gid: 2, mtimeSeconds: 3, mtimeNanoseconds: 4, xattrs: NO_XATTRS };

test('files are injected on top of an image, through its symlinks', async () => {
  await using scratch = await Scratch.create();
  const layers = await imageOf(scratch, [
    { path: 'usr/local/', flag: '5', mode: 0o2775, gid: 50 },
    { path: 'opt', flag: '2', linkname: 'usr/local' },
    { path: 'etc/resolv.conf', flag: '2', linkname: '/run/resolv.conf' },
  ]);
  const path = scratch.path();
  await using lower = await Tree.open(layers);
  await using builder = await LayerBuilder.create(path, { lower });
  await builder.add('/opt/tool/run', { ...META, type: 'file', size: 3, content: streamOf(Buffer.from('run')) });
  await builder.add('/etc/resolv.conf', { ...META, type: 'file', size: 0, content: streamOf(Buffer.from('')) });
  await builder.add('/opt/sock', { ...META, type: 'socket' });
  await builder.add('/opt/link', { ...META, type: 'symlink', target: 'tool/run' });
  await builder.link('/opt/again', '/opt/tool/run');
  await builder.whiteout('/opt/nothing');
  const { bytes, entries, contentBytes } = await builder.finish();
  await fsck(path);
  assert.deepEqual([entries, contentBytes], [6, 3]);
  assert.deepEqual(await listing([{ path, bytes }]), [
    '/ 755 0:0 directory',
    '/etc 755 0:0 directory',
    '/etc/resolv.conf 600 1:2 ""',
    '/usr 755 0:0 directory',
    '/usr/local 2775 0:50 directory',
    '/usr/local/again 600 1:2 "run"',
    '/usr/local/link 600 1:2 -> tool/run',
    '/usr/local/sock 600 1:2 socket',
    '/usr/local/tool 755 0:0 directory',
    '/usr/local/tool/run 600 1:2 "run"',
  ]);
});

test('the same entries give the same layer', async () => {
  await using scratch = await Scratch.create();
  const build = async () => {
    await using builder = await LayerBuilder.create(scratch.path());
    for (const name of ['b', 'a']) {
      await builder.add(name, { ...META, type: 'file', size: 5_000, content: streamOf(Buffer.alloc(5_000, name)) });
    }
    return (await builder.finish()).digest;
  };
  assert.equal(await build(), await build());
});

test('entries that no Linux filesystem can hold are refused, and nothing is left of the file', async () => {
  await using scratch = await Scratch.create();
  {
    await using builder = await LayerBuilder.create(scratch.path());
    const refused = { code: 'LAYER_MALFORMED' };
    await assert.rejects(builder.add('l', { ...META, type: 'symlink', target: '' }), refused);
    await assert.rejects(builder.add('l', { ...META, type: 'symlink', target: 'x'.repeat(4_096) }), refused);
    await assert.rejects(builder.add('l', { ...META, type: 'symlink', target: 'a\0b' }), refused);
    await assert.rejects(builder.add('c', { ...META, type: 'character', major: 4_096, minor: 0 }), refused);
    await assert.rejects(builder.add('c', { ...META, type: 'block', major: 1, minor: 2 ** 20 }), refused);
    await assert.rejects(builder.add('/', { ...META, type: 'fifo' }), refused);
    await assert.rejects(builder.add('a/../b', { ...META, type: 'fifo' }), refused);
    await assert.rejects(builder.whiteout('/'), refused);
  }
  assert.deepEqual(await readdir(scratch.folder), []);
});
