import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { open, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { hashFile, makeFolders, writeFully } from '../../src/std/files.ts';
import { Scratch } from '../support/layers.ts';

test('hashFile() hashes files of every size around its buffer, and ends with its signal', async () => {
  await using scratch = await Scratch.create();
  const path = scratch.path();
  for (const bytes of [0, 1, 512 * 1024, 512 * 1024 + 1, 3_000_000]) {
    const content = Buffer.alloc(bytes, 'abc');
    await writeFile(path, content);
    assert.equal(await hashFile(path), createHash('sha256').update(content).digest('hex'), `${bytes} bytes`);
  }
  await assert.rejects(hashFile(path, AbortSignal.abort(new Error('enough'))), /enough/u);
});

test('makeFolders() makes what is missing, at the same time too, and ends where nothing can be made', async () => {
  await using scratch = await Scratch.create();
  const top = scratch.path();
  await Promise.all([1, 2, 3, 4].map(() => makeFolders(join(top, 'a/b'), 0o700)));
  assert.equal((await stat(join(top, 'a'))).mode & 0o777, 0o700);
  assert.ok((await stat(join(top, 'a/b'))).isDirectory());
  await writeFile(join(top, 'file'), '');
  await assert.rejects(makeFolders(join(top, 'file'), 0o700), { code: 'EEXIST' });
  await assert.rejects(makeFolders(join(top, 'file/x/y'), 0o700), { code: 'ENOTDIR' });
  // Node's own recursive mkdir never returns from here.
  for (const path of ['/proc/x', '/proc/x/y']) await assert.rejects(makeFolders(path, 0o700), { code: 'ENOENT' });
});

test('writeFully() goes on where the system stopped, within a chunk or between two', async () => {
  await using scratch = await Scratch.create();
  await using file = await open(scratch.path(), 'w+');
  const counts: number[] = [];
  const partial = {
    writev: async (chunks: readonly Uint8Array[], position: number) => {
      const bytes = Buffer.concat(chunks).subarray(0, 3);
      counts.push(chunks.length);
      return { bytesWritten: (await file.write(bytes, 0, bytes.length, position)).bytesWritten };
    },
  };
  const chunks = ['ab', '', 'cdefg', 'h'].map((text) => Buffer.from(text));
  await writeFully(partial as unknown as FileHandle, chunks, 2);
  const written = Buffer.alloc(10);
  assert.equal((await file.read(written, 0, 10, 0)).bytesRead, 10);
  assert.equal(written.toString(), '\0\0abcdefgh');
  assert.deepEqual(counts, [4, 2, 2]);
});
