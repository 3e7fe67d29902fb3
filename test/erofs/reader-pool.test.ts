import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { ReaderPool } from '../../src/erofs/reader-pool.ts';
import { frozenBytes } from '../support/frozen.ts';
import { Scratch } from '../support/layers.ts';

const LAYER = frozenBytes('layer/1/base.txt');

async function layers(scratch: Scratch, count: number): Promise<LayerFile[]> {
  const files = Array.from({ length: count }, () => ({ path: scratch.path(), bytes: LAYER.length }));
  for (const { path } of files) await writeFile(path, LAYER);
  return files;
}

/** Returns which of the layers this process has open, by their index. */
function opened(files: readonly LayerFile[]): number[] {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return files.flatMap(({ path }, index) => (links.includes(path) ? [index] : []));
}

test('users of one layer share its reader, which stays open when they have gone', async () => {
  await using scratch = await Scratch.create();
  const files = await layers(scratch, 1);
  const pool = new ReaderPool();
  const [one, other] = await Promise.all([pool.acquire(files[0]!), pool.acquire({ ...files[0]! })]);
  assert.equal(one, other);
  for (let users = 0; users < 2; users += 1) await pool.release(files[0]!);
  await assert.rejects(pool.release(files[0]!), /released as often as acquired/u);
  assert.equal(await pool.acquire(files[0]!), one);
  await pool[Symbol.asyncDispose]();
  assert.deepEqual(opened(files), [], 'the end of the pool closes what is in use, too');
  await assert.rejects(pool.release(files[0]!), /only what was acquired/u);
});

test('of layers without users as many stay open as may, the last used ones', async () => {
  await using scratch = await Scratch.create();
  const files = await layers(scratch, 4);
  await using pool = new ReaderPool(2);
  for (const file of files) await pool.acquire(file);
  assert.deepEqual(opened(files), [0, 1, 2, 3], 'what has users is not counted');
  for (const index of [3, 1]) await pool.release(files[index]!);
  assert.deepEqual(opened(files), [0, 1, 2, 3]);
  await pool.release(files[2]!);
  assert.deepEqual(opened(files), [0, 2, 3], 'the one that was acquired longest ago goes');
  await pool.release(files[0]!);
  assert.deepEqual(opened(files), [2, 3]);
});

test('evict closes a layer that nobody uses, and leaves the others', async () => {
  await using scratch = await Scratch.create();
  const files = await layers(scratch, 2);
  await using pool = new ReaderPool();
  for (const file of files) await pool.acquire(file);
  await pool.evict(files[0]!.path);
  assert.deepEqual(opened(files), [0, 1], 'it is in use');
  for (const file of files) await pool.release(file);
  await pool.evict(files[0]!.path);
  assert.deepEqual(opened(files), [1]);
});

test('another version of a file is another reader, and a layer that cannot be opened is tried again', async () => {
  await using scratch = await Scratch.create();
  const [file] = await layers(scratch, 1);
  await using pool = new ReaderPool();
  const first = await pool.acquire({ ...file!, version: '1' });
  assert.notEqual(await pool.acquire({ ...file!, version: '2' }), first);
  const late = { path: scratch.path(), bytes: LAYER.length };
  await assert.rejects(pool.acquire(late));
  await rename(file!.path, late.path);
  assert.equal((await (await pool.acquire(late)).root()).type, 'directory');
});
