import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'jsonc-parser';
import { parse as parseToml } from 'smol-toml';
import { parse as parseYaml } from 'yaml';
import { AGENTS, type Agent, type UserDirectories } from '../../src/cli/agents/agent-config.ts';
import { putEntry, takeEntry } from '../../src/cli/agents/config-entry.ts';
import { installationOf, launchCommand, type Installation } from '../../src/cli/agents/installation.ts';
import { FORMATS } from '../../src/cli/agents/config-formats.ts';
import { defined } from '../../src/std/assert.ts';

const SERVER = { command: '/opt/contree/bin/contree-mcp', args: ['--data-dir', '/srv/a b'] };

function agent(name: string): Agent {
  return defined(
    AGENTS.find((candidate) => candidate.name === name),
    name,
  );
}

/** Returns the text of an agent's file after `contree install`. */
function installed(name: string, text = ''): string {
  const { entry, usual, ...place } = agent(name);
  return putEntry(place, text, entry(SERVER), usual);
}

test('every agent: installing twice is installing once, and uninstalling leaves no trace', () => {
  for (const { name } of AGENTS) {
    const once = installed(name);
    assert.ok(once.includes(SERVER.command), `${name} names the server`);
    assert.equal(installed(name, once), once, name);
    assert.ok(!takeEntry(agent(name), once).includes('contree'), name);
    assert.equal(takeEntry(agent(name), ''), '', name);
  }
});

test('what each agent reads', () => {
  const { command, args } = SERVER;
  const plain = { command, args };
  const typed = { type: 'stdio', command, args };
  const expected: Readonly<Record<string, unknown>> = {
    'claude-code': { mcpServers: { contree: typed } },
    'claude-desktop': { mcpServers: { contree: plain } },
    codex: { mcp_servers: { contree: { ...plain, tool_timeout_sec: 600 } } },
    cursor: { mcpServers: { contree: plain } },
    vscode: { servers: { contree: typed } },
    windsurf: { mcpServers: { contree: plain } },
    gemini: { mcpServers: { contree: plain } },
    zed: { context_servers: { contree: { source: 'custom', command, args, env: {} } } },
    goose: {
      extensions: {
        contree: { name: 'ConTree', type: 'stdio', cmd: command, args, enabled: true, timeout: 600 },
      },
    },
    opencode: { mcp: { contree: { type: 'local', command: [command, ...args], enabled: true } } },
    copilot: { mcpServers: { contree: { ...typed, tools: ['*'], env: {} } } },
  };
  assert.deepEqual(AGENTS.map(({ name }) => name).toSorted(), Object.keys(expected).toSorted());
  for (const { name, format } of AGENTS) {
    assert.deepEqual(JSON.parse(JSON.stringify(FORMATS[format].parse(installed(name)))), expected[name], name);
  }
});

test('JSON keeps its other servers, settings, comments, order, indentation and line ends', () => {
  const before =
    '{\r\n\t// mine\r\n\t"theme": "dark",\r\n\t"mcpServers": {\r\n\t\t"other": { "command": "x" }, // keep\r\n\t},\r\n\t"last": 1\r\n}\r\n';
  const after = installed('cursor', `\uFEFF${before}`);
  const start =
    '\uFEFF{\r\n\t// mine\r\n\t"theme": "dark",\r\n\t"mcpServers": {\r\n\t\t"contree": {\r\n\t\t\t"command"';
  assert.ok(after.startsWith(start), after);
  assert.ok(after.endsWith('\t\t"other": { "command": "x" }, // keep\r\n\t},\r\n\t"last": 1\r\n}\r\n'), after);
  assert.doesNotMatch(after, /[^\r]\n/u);
  assert.deepEqual(parse(after.slice(1)), {
    theme: 'dark',
    mcpServers: { other: { command: 'x' }, contree: SERVER },
    last: 1,
  });
  assert.equal(takeEntry(agent('cursor'), after), `\uFEFF${before}`);
  assert.equal(installed('cursor', '{"a":1}').split('\n').length, 1, 'a file in one line stays in one');
});

test('an entry that is there keeps what its owner added, and is no HTTP server any more', () => {
  const json = installed(
    'zed',
    '{"context_servers":{"contree":{"url":"http://x","headers":{},"command":"old","env":{"A":"1"}, /* why */ "enabled":false}}}',
  );
  assert.ok(json.includes('/* why */'));
  assert.deepEqual(parse(json), {
    context_servers: { contree: { source: 'custom', ...SERVER, env: { A: '1' }, enabled: false } },
  });
  const yaml = installed(
    'goose',
    'extensions:\n  contree:\n    uri: http://x\n    timeout: 30 # short\n    cmd: old\n',
  );
  assert.match(yaml, /timeout: 30 # short/u);
  const { contree } = (parseYaml(yaml) as { extensions: { contree: Record<string, unknown> } }).extensions;
  assert.deepEqual([contree['cmd'], contree['uri'], contree['timeout']], [SERVER.command, undefined, 30]);
});

test('TOML: the table is edited in place; sub-tables, comments and neighbours stay', () => {
  const before = [
    'model = "x" # mine',
    '',
    '[ mcp_servers . "contree" ] # ours',
    'url = "http://old"',
    'args = [',
    '  "one", # first',
    '  "two",',
    ']',
    'startup_timeout_sec = 20',
    '',
    '[mcp_servers.contree.env]',
    'A = "1"',
    '',
    '# the last one',
    '[mcp_servers.zeta]',
    'command = "z" # keep',
    '',
  ].join('\n');
  const after = installed('codex', before);
  for (const kept of ['model = "x" # mine', '# ours', '# the last one\n[mcp_servers.zeta]\ncommand = "z" # keep\n']) {
    assert.ok(after.includes(kept), kept);
  }
  assert.deepEqual(JSON.parse(JSON.stringify(parseToml(after))), {
    model: 'x',
    mcp_servers: {
      contree: { ...SERVER, startup_timeout_sec: 20, tool_timeout_sec: 600, env: { A: '1' } },
      zeta: { command: 'z' },
    },
  });
  const without = takeEntry(agent('codex'), after);
  assert.equal(without, 'model = "x" # mine\n\n\n\n# the last one\n[mcp_servers.zeta]\ncommand = "z" # keep\n');
  const appended = installed('codex', 'model = "x"');
  assert.match(appended, /^model = "x"\n\n\[mcp_servers\.contree\]\ncommand = "\/opt/u);
});

test('YAML: other extensions and comments stay, and an empty group is filled', () => {
  const long = 'word '.repeat(40).trim();
  const after = installed('goose', `# mine\nextensions:\n  memory:\n    enabled: true # on\nnote: ${long}\n`);
  assert.match(after, /^# mine\nextensions:\n {2}memory:\n {4}enabled: true # on\n/u);
  assert.ok(after.includes(`note: ${long}\n`), 'a long line stays one line');
  assert.match(installed('goose', 'extensions:\n'), /contree:\n {4}name: ConTree/u);
});

test('what is malformed, or cannot be edited without harm, is refused with the reason', () => {
  const refused: readonly (readonly [string, string, RegExp])[] = [
    ['gemini', '{\n "mcpServers": ', /line 2: ValueExpected/u],
    ['gemini', '[1]', /not an object/u],
    ['gemini', '{"mcpServers": []}', /mcpServers is not an object/u],
    ['codex', 'a = \n', /./u],
    ['codex', '[a]\n[a]\n', /redefine/u],
    ['codex', 'mcp_servers = { contree = { command = "x" } }\n', /cannot be edited|redefine/u],
    ['codex', '[mcp_servers]\ncontree.command = "x"\n', /cannot be edited|redefine/u],
    ['codex', 's = """\n[mcp_servers.contree]\n"""\n', /cannot be edited|TOML/u],
    ['goose', 'a: [1\n', /./u],
    ['goose', 'extensions: 7\n', /extensions is not an object/u],
  ];
  for (const [name, text, reason] of refused) assert.throws(() => installed(name, text), { message: reason }, text);
});

const INSTALLED: Installation = {
  launcher: '/opt/contree/bin/contree-mcp',
  node: undefined,
  uvx: '/home/u/.local/bin/uvx',
  platform: 'linux',
};
const NODE = '/home/u/.nvm/versions/node/v24.1.0/bin/node';
const ARGS = ['--url', 'https://x'];

/** The whole command line that an agent would start. */
function line(installation: Partial<Installation>): readonly string[] {
  const { command, args } = launchCommand({ ...INSTALLED, ...installation }, ARGS);
  return [command, ...args];
}

test('the launcher is started by its name, or by the Node that a desktop program would not find', () => {
  assert.deepEqual(line({}), ['/opt/contree/bin/contree-mcp', ...ARGS]);
  assert.deepEqual(line({ node: NODE }), [NODE, '/opt/contree/bin/contree-mcp', ...ARGS]);
  const place = mkdtempSync(join(tmpdir(), 'contree-uvx-'));
  try {
    writeFileSync(join(place, 'uvx'), '');
    const self = [process.execPath, '/opt/contree/bin/contree'] as const;
    const { launcher, uvx, node } = installationOf({ self, env: { PATH: `/nowhere:${place}` } });
    assert.deepEqual([launcher, uvx], ['/opt/contree/bin/contree-mcp', join(place, 'uvx')]);
    assert.ok(node === undefined || node === process.execPath);
    assert.equal(installationOf({ self, env: {} }).uvx, undefined);
  } finally {
    rmSync(place, { recursive: true });
  }
});

test('what npx or uvx run from their caches is started by them again', () => {
  const npx = '/home/u/.npm/_npx/0a1b/node_modules/contree-mcp/bin/contree-mcp';
  assert.deepEqual(line({ launcher: npx }), ['npx', '-y', 'contree-mcp', ...ARGS]);
  const path = `PATH=${dirname(NODE)}:/usr/local/bin:/usr/bin:/bin`;
  assert.deepEqual(line({ launcher: npx, node: NODE }), ['/usr/bin/env', path, 'npx', '-y', 'contree-mcp', ...ARGS]);
  const windows = { launcher: npx.replaceAll('/', '\\'), platform: 'win32' } as const;
  assert.deepEqual(line(windows), ['cmd', '/c', 'npx', '-y', 'contree-mcp', ...ARGS]);
  const uv = '/home/u/.cache/uv/archive-v0/AbC/lib/python3.12/site-packages/contree_mcp/app/bin/contree-mcp';
  assert.deepEqual(line({ launcher: uv, node: NODE }), ['/home/u/.local/bin/uvx', 'contree-mcp', ...ARGS]);
  assert.deepEqual(line({ launcher: uv, uvx: undefined }), ['uvx', 'contree-mcp', ...ARGS]);
});

test('the files are where each system keeps them', () => {
  const file = (name: string, directories: Partial<UserDirectories> = {}): string =>
    agent(name).file({ home: '/h', platform: 'linux', env: {}, ...directories });
  assert.equal(file('claude-desktop'), '/h/.config/Claude/claude_desktop_config.json');
  assert.match(file('claude-desktop', { platform: 'darwin' }), /Library\/Application Support\/Claude/u);
  assert.match(file('claude-desktop', { platform: 'win32', env: { APPDATA: 'C:/Roaming' } }), /Roaming.Claude/u);
  assert.equal(file('zed', { env: { XDG_CONFIG_HOME: '/x' } }), '/x/zed/settings.json');
  assert.equal(file('goose', { platform: 'darwin' }), '/h/.config/goose/config.yaml');
  assert.equal(file('codex', { env: { CODEX_HOME: '/c' } }), '/c/config.toml');
  assert.equal(file('claude-code', { env: { CLAUDE_CONFIG_DIR: '/c' } }), '/c/.claude.json');
  assert.equal(file('claude-code'), '/h/.claude.json');
});
