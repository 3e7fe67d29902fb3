import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectMcp } from '../support/mcp/client.ts';
import { benchFolder } from '../support/transfer-folder.ts';

test('a local path that is missing is told from one of an image', async () => {
  using at = benchFolder();
  const image = at.contree.addImage({ '/out/x': 'result' });
  await using mcp = await connectMcp(at.contree, 'modern', { localFiles: at.local });
  for (const [name, args] of [
    ['upload', { path: join(at.root, 'nope') }],
    ['rsync', { source: join(at.root, 'nope'), destination: '/work' }],
  ] as const) {
    const { text } = await mcp.call(name, args);
    assert.match(
      text,
      /^LOCAL_FILE_NOT_FOUND: no local file or folder ".*nope"; ".*root" exists\nCorrect the path: it/u,
    );
    assert.doesNotMatch(text, /list_files/u);
  }
  const remote = await mcp.call('download', { image, path: '/out/y', destination: join(at.root, 'y') });
  assert.match(remote.text, /^FILE_NOT_FOUND: .*\nCall list_files\(path="\/out"\) on the same image/u);
});

test('a path of the wrong kind is told which tool takes it', async () => {
  using at = benchFolder();
  mkdirSync(join(at.root, 'folder'));
  await using mcp = await connectMcp(at.contree, 'modern', { localFiles: at.local });
  const folder = await mcp.call('upload', { path: join(at.root, 'folder') });
  assert.match(folder.text, /folder\\?" is not a regular file; rsync takes directories/u);
  const file = at.write('file', 'x');
  const synced = await mcp.call('rsync', { source: file, destination: '/work' });
  assert.match(synced.text, /file\\?" is not a directory; upload takes single files/u);
});

test('a download makes the folders on its way', async () => {
  using at = benchFolder();
  const image = at.contree.addImage({ '/out/x': 'result' });
  await using mcp = await connectMcp(at.contree, 'modern', { localFiles: at.local });
  const destination = join(at.root, 'new/folder/x.bin');
  const { structured } = await mcp.call('download', { image, path: '/out/x', destination });
  assert.equal(structured.destination, destination);
  assert.equal(readFileSync(destination, 'utf8'), 'result');
});

test('a server without folders names the path, and what the user can do', async () => {
  using at = benchFolder();
  await using mcp = await connectMcp(at.contree, 'modern');
  const { text } = await mcp.call('upload', { path: '/home/user/f' });
  assert.match(text, /^PATH_OUTSIDE_ROOT: "\/home\/user\/f" cannot be used: this server was given no folder/u);
  assert.match(text, /\nAsk the user to start this server with --fs-root/u);
  await using rooted = await connectMcp(at.contree, 'modern', { localFiles: at.local });
  const home = await rooted.call('upload', { path: '~/f' });
  assert.match(
    home.text,
    /^PATH_OUTSIDE_ROOT: "~\/f \(\/.*\/f\)" is outside the allowed folders/u,
    'where ~ leads is told',
  );
});
