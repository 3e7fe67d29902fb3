import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import type { LocalFolders } from '../../src/transfer/local-folders.ts';
import { isStartUpFile } from '../../src/transfer/start-up-files.ts';
import { benchFolder, type BenchFolder } from '../support/transfer-folder.ts';

const signal = AbortSignal.timeout(60_000);

function download(at: BenchFolder, local: LocalFolders, destination: string, more = {}): Promise<unknown> {
  const image = at.contree.addImage({ '/out/hook': '#!/bin/sh\n', '/out/.bashrc': 'evil' });
  const request = { image, path: '/out/hook', destination, executable: false, overwrite: true, ...more };
  return local.download(at.contree, request, { signal });
}

const isDenied = (error: unknown): boolean => isFault(error, 'STARTUP_FILE_DENIED');

test('isStartUpFile knows what programs run by themselves, wherever it is, and lets everything else be', () => {
  const dangerous = [
    '.git',
    '.git/config',
    'a/b/.git/hooks/post-commit',
    '.GIT/hooks/pre-push',
    '.ssh/authorized_keys',
    '.bashrc',
    'home/user/.profile',
    '.envrc',
    'project/.vscode/tasks.json',
    '.idea/workspace.xml',
    '.claude/settings.json',
    '.cursor/mcp.json',
    '.mcp.json',
    '.npmrc',
    '.gitconfig',
    '.config/systemd/user/x.service',
    '.local/bin/ls',
    '.cargo/config.toml',
  ];
  assert.deepEqual(
    dangerous.filter((path) => !isStartUpFile(path)),
    [],
  );
  const harmless = [
    'Makefile',
    'package.json',
    'CLAUDE.md',
    '.github/workflows/ci.yml',
    '.gitignore',
    '.gitattributes',
    'git/hooks/x',
    'bashrc',
    '.bashrc.md',
    'my.git/config',
    '.config/app/settings.json',
    '.env.example',
  ];
  assert.deepEqual(harmless.filter(isStartUpFile), []);
});

test('a model downloads no start-up file, not through links and not into folders', async () => {
  using at = benchFolder();
  for (const folder of ['.git/hooks', '.vscode', 'real']) mkdirSync(join(at.root, folder), { recursive: true });
  symlinkSync('.git/hooks', join(at.root, 'hooks'));
  symlinkSync('../real', join(at.root, '.vscode/linked'));
  const hooks = join(at.root, '.git/hooks');
  for (const destination of [`${hooks}/post-commit`, hooks, `${hooks}/`, `${at.root}/hooks/`, `${at.root}/hooks/x`]) {
    await assert.rejects(download(at, at.local, destination, { executable: true }), isDenied, destination);
  }
  for (const name of ['.bashrc', '.envrc', '.mcp.json', '.vscode/tasks.json', '.vscode/linked/x', '.git']) {
    await assert.rejects(download(at, at.local, join(at.root, name)), isDenied, name);
  }
  // The image determines the name of a folder.
  await assert.rejects(download(at, at.local, at.root, { path: '/out/.bashrc' }), isDenied);
  assert.deepEqual([readdirSync(hooks), readdirSync(join(at.root, 'real')), at.contree.sent], [[], [], 0]);
  assert.ok(!existsSync(join(at.root, '.bashrc')));
  await download(at, at.local, join(at.root, 'Makefile'));
});

test('an allowed folder inside of such a folder is a folder like any other', async () => {
  using at = benchFolder();
  const root = join(at.root, '.claude/worktrees/one');
  mkdirSync(root, { recursive: true });
  const local = at.localOf({ namedBy: 'model', roots: [root] });
  await download(at, local, join(root, 'result'));
  await assert.rejects(download(at, local, join(root, '.envrc')), isDenied);
});

test('the user may allow start-up files, never executable ones, and may write what it likes itself', async () => {
  using at = benchFolder();
  const hook = join(at.root, '.git/hooks/post-commit');
  mkdirSync(dirname(hook), { recursive: true });
  const allowed = at.localOf({ namedBy: 'model', startUpFiles: true });
  await assert.rejects(download(at, allowed, hook, { executable: true }), isDenied);
  await download(at, allowed, hook);
  assert.equal(statSync(hook).mode & 0o111, 0);
  await download(at, at.localOf({ namedBy: 'user' }), hook, { executable: true });
  assert.equal(readFileSync(hook, 'utf8'), '#!/bin/sh\n');
  assert.notEqual(statSync(hook).mode & 0o100, 0);
});

test('a model uploads no secret that rsync leaves out; the user may', async () => {
  using at = benchFolder();
  const secrets = [
    at.write('.env', 'TOKEN=x'),
    at.write('deep/.ssh/config', 'Host *'),
    at.write('keys/server.pem', '-----BEGIN PRIVATE KEY-----\nMII'),
    at.write('.npmrc', '//registry.example/:_authToken=x'),
  ];
  symlinkSync('.env', join(at.root, 'plain'));
  for (const path of [...secrets, join(at.root, 'plain')]) {
    const attempt = at.local.upload(at.contree, path, { signal });
    await assert.rejects(attempt, (error) => isFault(error, 'SECRET_DENIED'), path);
  }
  assert.equal(at.contree.sent, 0);
  await at.local.upload(at.contree, at.write('.env.example', 'TOKEN='), { signal });
  await at.localOf({ namedBy: 'user' }).upload(at.contree, secrets[0] ?? '', { signal });
  assert.equal(at.contree.sent, 2);
});
