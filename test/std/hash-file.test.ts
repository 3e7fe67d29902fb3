import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { hashFile } from '../../src/std/hash-file.ts';
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
