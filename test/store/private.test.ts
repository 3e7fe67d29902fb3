import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Store } from '../../src/store/store.ts';
import { scratch } from './bench.ts';

test('a data directory that others could read is closed to them when it is opened', async () => {
  await using place = await scratch();
  const directory = join(place.path, 'data');
  await using first = await Store.open(directory);
  await first[Symbol.asyncDispose]();
  await chmod(directory, 0o755);
  await chmod(join(directory, 'store.sqlite'), 0o644);
  await chmod(join(directory, 'layers'), 0o755);
  await writeFile(join(directory, 'engine.log'), 'x', { mode: 0o664 });
  await mkdir(join(place.path, 'else'), { mode: 0o755 });
  await symlink(join(place.path, 'else'), join(directory, 'link'));
  await using _store = await Store.open(directory);
  const modes = await Promise.all(
    [directory, ...['store.sqlite', 'layers', 'engine.log'].map((name) => join(directory, name))].map(
      async (path) => (await stat(path)).mode & 0o077,
    ),
  );
  assert.deepEqual(modes, [0, 0, 0, 0]);
  assert.equal((await stat(join(place.path, 'else'))).mode & 0o777, 0o755, 'links are not followed');
  assert.ok((await readdir(directory)).includes('link'));
});
