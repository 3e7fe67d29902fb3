import assert from 'node:assert/strict';
import { chmod, mkdtempDisposable, readdir, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownCache } from '../../scripts/support/debian-image.ts';

test('a cache that another user could have filled is not used', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'contree-images-'));
  const folder = join(scratch.path, 'cache');
  await ownCache(folder);
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  await ownCache(folder);
  await chmod(folder, 0o777);
  await assert.rejects(ownCache(folder), /only you may write/u);
  await chmod(folder, 0o755);
  await symlink(folder, join(scratch.path, 'link'));
  await assert.rejects(ownCache(join(scratch.path, 'link')), /only you may write/u);
  const mine = process.getuid;
  try {
    // Only root could change the folder's owner, so the test changes our own user id instead.
    process.getuid = () => (mine?.() ?? 0) + 1;
    await assert.rejects(ownCache(folder), /only you may write/u);
  } finally {
    if (mine !== undefined) process.getuid = mine;
  }
  assert.deepEqual(await readdir(folder), []);
});
