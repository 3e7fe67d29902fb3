import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LocalFolders } from '../../src/transfer/local-folders.ts';
import { faults } from '../conformance/faults.ts';
import { benchFolder } from '../support/transfer-folder.ts';

/** Returns the folder of the bench as the user, with a folder, a file and links of the user in it. */
function links(root: string, outside: string): LocalFolders {
  mkdirSync(join(root, 'deep/er'), { recursive: true });
  writeFileSync(join(root, 'file'), 'x');
  symlinkSync(outside, join(root, 'mine'));
  symlinkSync(join(outside, 'nothing'), join(root, 'dangling'));
  symlinkSync('..', join(root, 'deep/up'));
  return new LocalFolders({ roots: [root], cache: { path: join(root, 'cache'), keptDays: 1 }, namedBy: 'user' });
}

test('a symlink within the folder is made as it is, also in new folders and to what does not exist', () => {
  using at = benchFolder();
  const local = links(at.root, at.outside);
  for (const [path, target] of [
    ['a', 'file'],
    ['deep/er/b', '../../file'],
    ['new/folder/c', '../..'],
    ['d', 'not/there/yet'],
    ['e', './deep//er/.'],
    ['f', join(at.root, 'file')],
    ['g', 'dee\u001bp'],
  ] as const) {
    const request = { path: join(at.root, path), target };
    assert.equal(local.keepsLink(request), true, target);
    local.link(request);
    assert.equal(readlinkSync(request.path), target);
  }
});

test('a symlink that leads out of the folder is not made, whatever leads there', () => {
  using at = benchFolder();
  const local = links(at.root, at.outside);
  for (const [path, target] of [
    ['a', '/etc/passwd'],
    ['a', '..'],
    ['a', `../${at.root.split('/').at(-1)}x`],
    ['deep/er/a', '../../../outside'],
    // Through links of the user.
    ['a', 'mine'],
    ['a', 'mine/below'],
    ['a', 'dangling'],
    ['a', 'dangling/below'],
    // In a name that may be a link, up is not where it seems to be.
    ['a', 'deep/up/../..'],
    ['a', 'deep/er/..'],
    ['a', `${at.root}/deep/../file`],
    ['mine/a', 'file'],
    ['a', ''],
    ['a', 'fi\0le'],
  ] as const) {
    const request = { path: join(at.root, path), target };
    assert.equal(local.keepsLink(request), false, target);
    assert.throws(() => local.link(request), faults('PATH_OUTSIDE_ROOT'), target);
    assert.equal(lstatSync(request.path, { throwIfNoEntry: false }), undefined);
  }
});

test('a symlink replaces a file or a link, which is not followed, and no directory', () => {
  using at = benchFolder();
  const local = links(at.root, at.outside);
  const secret = join(at.outside, 'secret');
  writeFileSync(secret, 'kept');
  symlinkSync(secret, join(at.root, 'link'));
  for (const name of ['link', 'mine', 'dangling', 'cache-file']) {
    if (name === 'cache-file') writeFileSync(join(at.root, name), 'x');
    local.link({ path: join(at.root, name), target: 'file' });
    assert.equal(readlinkSync(join(at.root, name)), 'file');
  }
  assert.equal(readFileSync(secret, 'utf8'), 'kept');
  assert.ok(existsSync(at.outside));
  assert.throws(() => local.link({ path: join(at.root, 'deep'), target: 'file' }), faults('ARGUMENT_INVALID'));
  assert.ok(lstatSync(join(at.root, 'deep')).isDirectory());
});
