import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute, ROOT, type CliResult } from '../support/home.ts';

const CONTREE = join(ROOT, 'bin/contree');

function install(home: string, ...args: readonly string[]): Promise<CliResult> {
  return execute(process.execPath, [CONTREE, 'install', ...args], { env: { HOME: home, CONTREE_CONFIG: '/dev/null' } });
}

test('install writes an agent’s file once, keeps what is there, and never starts an engine', async () => {
  const home = await mkdtemp(join(tmpdir(), 'contree-install-'));
  try {
    const file = join(home, '.claude.json');
    await writeFile(file, '{"theme":"dark"}', { mode: 0o640 });
    const printed = await install(home, 'claude-code', '--print');
    assert.equal(printed.code, 0, printed.stderr);
    assert.equal(await readFile(file, 'utf8'), '{"theme":"dark"}', '--print writes nothing');

    assert.equal((await install(home, 'claude-code')).code, 0);
    const written = await readFile(file, 'utf8');
    assert.equal(written, printed.stdout);
    const { theme, mcpServers } = JSON.parse(written) as {
      theme: string;
      mcpServers: { contree: { command: string } };
    };
    assert.equal(theme, 'dark');
    await stat(mcpServers.contree.command);
    assert.equal((await stat(file)).mode & 0o777, 0o640);
    assert.match((await install(home, 'claude-code')).stdout, /already/u);
    assert.equal(await readFile(file, 'utf8'), written);
    await assert.rejects(stat(join(home, '.local/share/contree')), 'no data directory was made');
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});

test('install of an unknown agent names the known ones', async () => {
  const result = await install('/nonexistent', 'emacs');
  assert.equal(result.code, 2);
  assert.match(result.stderr, /claude-code.*opencode/u);
});
