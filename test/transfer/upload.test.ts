import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault, type ErrorCode } from '../../src/contract/errors.ts';
import { LocalFolders } from '../../src/transfer/local-folders.ts';
import { benchFolder } from '../support/transfer-folder.ts';

const quiet = (): { readonly signal: AbortSignal } => ({ signal: new AbortController().signal });

test('a file is stored under its digest; the same content is not sent again', async () => {
  using at = benchFolder();
  const sizes = [0, 1, 128 * 1024, 128 * 1024 + 1, 256 * 1024, 3 * 1024 * 1024 + 7];
  for (const size of sizes) {
    const content = Buffer.alloc(size, size % 251);
    const path = at.write(`f${size}`, content);
    const steps: number[] = [];
    const first = await at.local.upload(at.contree, path, {
      ...quiet(),
      onProgress: ({ done, total }) => (assert.equal(total, size), steps.push(done)),
    });
    assert.deepEqual([first.size, first.reused], [size, false]);
    assert.equal(first.sha256, createHash('sha256').update(content).digest('hex'));
    assert.equal(steps.at(-1) ?? 0, size);
    const again = await at.local.upload(at.contree, path, quiet());
    assert.deepEqual([again.uuid, again.reused], [first.uuid, true]);
  }
  assert.equal(at.contree.sent, sizes.length);
});

test('a sparse file is read in chunks, not into memory', async () => {
  using at = benchFolder();
  const path = join(at.root, 'sparse');
  const descriptor = openSync(path, 'w');
  ftruncateSync(descriptor, 64 * 1024 * 1024);
  closeSync(descriptor);
  let largest = 0;
  at.contree.uploads.create = async (body) => {
    let size = 0;
    for await (const chunk of body) {
      largest = Math.max(largest, chunk.byteLength);
      size += chunk.byteLength;
    }
    return { uuid: 'u', sha256: 's', size };
  };
  assert.equal((await at.local.upload(at.contree, path, quiet())).size, 64 * 1024 * 1024);
  assert.ok(largest <= 1024 * 1024, `${largest} bytes at once`);
});

test('anything but a file below an allowed folder is refused', async () => {
  using at = benchFolder();
  const refused = (path: string, code: ErrorCode): Promise<void> =>
    assert.rejects(at.local.upload(at.contree, path, quiet()), (error) => isFault(error, code));
  writeFileSync(join(at.outside, 'canary'), 'canary');
  symlinkSync(at.outside, join(at.root, 'out'));
  symlinkSync(join(at.outside, 'canary'), join(at.root, 'link'));
  symlinkSync('loop', join(at.root, 'loop'));
  mkdirSync(join(at.root, 'd'));
  assert.equal(spawnSync('mkfifo', [join(at.root, 'pipe')]).status, 0);
  for (const path of ['out/canary', 'link', '../outside/canary']) {
    await refused(`${at.root}/${path}`, 'PATH_OUTSIDE_ROOT');
  }
  await refused('/etc/passwd', 'PATH_OUTSIDE_ROOT');
  await refused('/proc/self/environ', 'PATH_OUTSIDE_ROOT');
  await refused(join(at.root, 'missing'), 'LOCAL_FILE_NOT_FOUND');
  await refused(join(at.root, 'loop'), 'LOCAL_FILE_NOT_FOUND');
  await refused(join(at.root, 'd'), 'ARGUMENT_INVALID');
  await refused(at.root, 'ARGUMENT_INVALID');
  await refused(join(at.root, 'pipe'), 'ARGUMENT_INVALID');
  assert.equal(at.contree.sent, 0);
});

test('roots: through links, below one another, missing ones, the whole disk, and the home folder', async () => {
  using at = benchFolder();
  at.write('deep/file', 'x');
  symlinkSync(at.root, join(at.outside, 'alias'));
  const upload = (roots: readonly string[], path: string): Promise<unknown> =>
    new LocalFolders({ roots, cache: { path: at.cache, keptDays: 60 }, namedBy: 'user' }).upload(
      at.contree,
      path,
      quiet(),
    );
  await upload([join(at.outside, 'alias')], join(at.root, 'deep/file'));
  await upload([at.root], join(at.outside, 'alias/deep/file'));
  await upload(['/missing', at.root, join(at.root, 'deep')], join(at.root, 'deep/file'));
  await upload(['/'], join(at.root, 'deep/file'));
  await assert.rejects(upload(['/missing'], join(at.root, 'deep/file')), (error) =>
    isFault(error, 'PATH_OUTSIDE_ROOT'),
  );
  await assert.rejects(upload([], join(at.root, 'deep/file')), (error) => isFault(error, 'PATH_OUTSIDE_ROOT'));
  await assert.rejects(
    upload(['~'], '~/no-such-file-here'),
    (error) => isFault(error, 'LOCAL_FILE_NOT_FOUND') && error.message.includes(homedir()),
  );
});
