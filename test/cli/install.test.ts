import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute, ROOT, type CliResult } from '../support/home.ts';

const CONTREE = join(ROOT, 'bin/contree');

interface Home extends AsyncDisposable {
  readonly folder: string;
  install(...args: readonly string[]): Promise<CliResult>;
}

async function open(): Promise<Home> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-install-'));
  const env = {
    HOME: folder,
    CONTREE_CONFIG: '/dev/null',
    XDG_CONFIG_HOME: '',
    CODEX_HOME: '',
    CLAUDE_CONFIG_DIR: '',
  };
  return {
    folder,
    install: (...args) => execute(process.execPath, [CONTREE, 'install', ...args], { env }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

test('install writes an agent’s file once, keeps what is there, and never starts an engine', async () => {
  await using home = await open();
  const file = join(home.folder, '.claude.json');
  await writeFile(file, '{\n  "theme": "dark"\n}\n', { mode: 0o640 });
  const printed = await home.install('claude-code', '--print');
  assert.equal(printed.code, 0, printed.stderr);
  assert.equal(await readFile(file, 'utf8'), '{\n  "theme": "dark"\n}\n', '--print writes nothing');

  assert.equal((await home.install('claude-code')).code, 0);
  const written = JSON.parse(await readFile(file, 'utf8')) as {
    mcpServers: { contree: { command: string; args: string[] } };
  };
  assert.deepEqual(written, { ...(JSON.parse(printed.stdout) as object), theme: 'dark' });
  const { command, args } = written.mcpServers.contree;
  // As a program that was started from a desktop, without the PATH of a shell.
  const env = { HOME: home.folder, PATH: '/usr/bin:/bin' };
  const started = spawnSync(command, [...args, '--version'], { encoding: 'utf8', env });
  assert.match(started.stdout, /^\d+\.\d+\.\d+\n$/u, started.stderr);
  assert.equal((await stat(file)).mode & 0o777, 0o640);
  const { ino } = await stat(file);
  assert.match((await home.install('claude-code')).stdout, /already/u);
  assert.equal((await stat(file)).ino, ino, 'what says enough is not written again');

  assert.match((await home.install('claude-code', '--uninstall')).stdout, /removed contree from/u);
  assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), { mcpServers: {}, theme: 'dark' });
  assert.match((await home.install('claude-code', '--uninstall')).stdout, /is not in/u);
  const made = (await readdir(home.folder)).filter((name) => name !== '.cache');
  assert.deepEqual(made, ['.claude.json'], 'nothing else was made');
});

test('a new file is its owner’s alone, and names the settings that choose the store', async () => {
  await using home = await open();
  const { code, stderr } = await home.install('codex', '--data-dir', join(home.folder, 'data'));
  assert.equal(code, 0, stderr);
  const file = join(home.folder, '.codex/config.toml');
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.match(await readFile(file, 'utf8'), /^args = \[.*"--data-dir","\/.*\/data"\]$/mu);
  assert.doesNotMatch((await home.install('cursor', '--print')).stdout, /--data-dir/u, 'what is usual is not said');
  const remote = await home.install('cursor', '--print', '--url', 'https://contree.example.org');
  assert.match(remote.stdout, /"--url",\s*"https:\/\/contree\.example\.org"\s*\]/u);
});

test('a symlink stays one: the file it leads to is written', async () => {
  await using home = await open();
  const dotfiles = join(home.folder, 'dotfiles');
  await mkdir(dotfiles);
  await mkdir(join(home.folder, '.cursor'));
  const link = join(home.folder, '.cursor/mcp.json');
  // A dangling link at first, as when a dotfiles manager has created only the link.
  await symlink(join(dotfiles, 'cursor.json'), link);
  for (const agent of ['cursor', 'cursor']) assert.equal((await home.install(agent)).code, 0);
  assert.ok((await lstat(link)).isSymbolicLink());
  assert.match(await readFile(join(dotfiles, 'cursor.json'), 'utf8'), /"contree"/u);
  assert.deepEqual(await readdir(dotfiles), ['cursor.json'], 'no temporary file is left');
});

test('a malformed file is left as it is, with the reason and the way out', async () => {
  await using home = await open();
  await mkdir(join(home.folder, '.gemini'));
  const file = join(home.folder, '.gemini/settings.json');
  await writeFile(file, '{"mcpServers": \n');
  const { code, stderr, stdout } = await home.install('gemini');
  assert.deepEqual([code, stdout], [2, '']);
  assert.match(stderr, /settings\.json was left as it is: line 2: ValueExpected\n.*--print/u);
  assert.equal(await readFile(file, 'utf8'), '{"mcpServers": \n');
  await rm(file);
  await mkdir(file);
  assert.match((await home.install('gemini')).stderr, /left as it is: it is not a file/u);
});

test('install of an unknown agent names the known ones', async () => {
  await using home = await open();
  const result = await home.install('emacs');
  assert.equal(result.code, 2);
  assert.match(result.stderr, /claude-code.*opencode/u);
});
