import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'jsonc-parser';
import { AGENTS, type Agent } from '../../src/cli/agent-config.ts';
import { defined } from '../../src/std/assert.ts';

const SERVER = { command: '/opt/contree/bin/contree-mcp', args: ['--data-dir', '/srv/a b'] };

function agent(name: string): Agent {
  return defined(
    AGENTS.find((candidate) => candidate.name === name),
    name,
  );
}

test('every agent: merging twice gives what merging once gave', () => {
  for (const { name, merge } of AGENTS) {
    const once = merge('', SERVER);
    assert.ok(once.includes(SERVER.command), `${name} names the server`);
    assert.equal(merge(once, SERVER), once, name);
  }
});

test('a JSON file keeps its other servers, its other settings and its comments', () => {
  const before =
    '{\n  // mine\n  "mcpServers": {\n    "other": { "command": "x" }, // keep\n  },\n  "theme": "dark"\n}\n';
  const after = agent('cursor').merge(before, SERVER);
  for (const kept of ['// mine', '// keep']) assert.ok(after.includes(kept), kept);
  assert.deepEqual(parse(after), {
    mcpServers: { other: { command: 'x' }, contree: { command: SERVER.command, args: SERVER.args } },
    theme: 'dark',
  });
});

test('a broken JSON file is refused and not overwritten', () => {
  assert.throws(() => agent('gemini').merge('{ "mcpServers": ', SERVER), { code: 'CONFIG_INVALID' });
  assert.throws(() => agent('gemini').merge('[1]', SERVER), { code: 'CONFIG_INVALID' });
});

test('codex: the table is replaced with its sub-tables, and its neighbours stay', () => {
  const before = [
    'model = "x"',
    '[mcp_servers.contree]',
    'command = "old"',
    '[mcp_servers.contree.env]',
    'A = "1"',
    '[mcp_servers.zeta]',
    'command = "z" # keep',
    '',
  ].join('\n');
  const after = agent('codex').merge(before, SERVER);
  assert.ok(!after.includes('"old"') && !after.includes('A = "1"'));
  assert.match(after, /^model = "x"\n\[mcp_servers\.contree\]\ncommand = "\/opt/u);
  assert.ok(after.endsWith('[mcp_servers.zeta]\ncommand = "z" # keep\n'));
});

test('goose: other extensions and comments stay', () => {
  const after = agent('goose').merge('# mine\nextensions:\n  memory:\n    enabled: true\n', SERVER);
  assert.match(after, /# mine/u);
  assert.match(after, /memory:\n {4}enabled: true/u);
  assert.match(after, /cmd: \/opt\/contree\/bin\/contree-mcp/u);
});

test('the files are where each system keeps them', () => {
  const { file } = agent('claude-desktop');
  assert.equal(file({ home: '/h', platform: 'linux' }), '/h/.config/Claude/claude_desktop_config.json');
  assert.match(file({ home: '/h', platform: 'darwin' }), /Library\/Application Support\/Claude/u);
  assert.match(file({ home: 'C:', platform: 'win32', appData: 'C:/Roaming' }), /Roaming.Claude/u);
});
