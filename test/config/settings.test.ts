import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  engineArguments,
  engineFiles,
  readSettings,
  SETTINGS,
  type Settings,
  type SettingSources,
} from '../../src/config/index.ts';
import { settingsDocument } from '../../src/config/docs.ts';
import { isFault } from '../../src/contract/errors.ts';

function read(sources: Partial<SettingSources>) {
  return readSettings({ program: 'contree', flags: {}, env: { HOME: '/nowhere' }, ...sources });
}

function configFile(text: string) {
  const folder = mkdtempSync(join(tmpdir(), 'contree-config-'));
  const path = join(folder, 'contree.ini');
  writeFileSync(path, text);
  return { path, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

function refusal(setting: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(isFault(error, 'CONFIG_INVALID'));
    assert.match(error.message, setting);
    return true;
  };
}

test('a flag wins over the environment, that over the file, and that over the default', () => {
  using file = configFile('http_port = 1001\n');
  const env = { HOME: '/nowhere', CONTREE_CONFIG: file.path };
  assert.equal(read({}).httpPort, 9452);
  assert.equal(read({ env }).httpPort, 1001);
  assert.equal(read({ env: { ...env, CONTREE_HTTP_PORT: '1002' } }).httpPort, 1002);
  assert.equal(read({ env: { ...env, CONTREE_HTTP_PORT: '1002' }, flags: { httpPort: '1003' } }).httpPort, 1003);
});

test('contree-mcp reads CONTREE_MCP_ names first, contree does not', () => {
  const env = { HOME: '/nowhere', CONTREE_URL: 'https://a.example', CONTREE_MCP_URL: 'https://b.example' };
  assert.equal(read({ env, program: 'contree-mcp' }).url, 'https://b.example');
  assert.equal(read({ env }).url, 'https://a.example');
});

test('contree-mcp takes every flag, variable and key that the Python server took', () => {
  const given: readonly (readonly [keyof Settings, string, unknown])[] = [
    ['url', 'https://contree.example', 'https://contree.example'],
    ['token', 'secret', 'secret'],
    ['mode', 'http', 'http'],
    ['httpListen', '127.0.0.2', '127.0.0.2'],
    ['httpPort', '9453', 9453],
    ['logLevel', 'debug', 'debug'],
    ['cacheFiles', '/cache/files.db', '/cache/files.db'],
    ['cacheGeneral', '/cache/cache.db', '/cache/cache.db'],
    ['cachePruneDays', '7', 7],
  ];
  for (const [name, text, value] of given) {
    const { flag } = SETTINGS[name];
    const variable = `CONTREE_MCP_${flag.toUpperCase().replaceAll('-', '_')}`;
    using file = configFile(`[DEFAULT]\n${flag.replaceAll('-', '_')} = ${text}\n`);
    for (const sources of [
      { flags: { [name]: text } },
      { env: { HOME: '/nowhere', [variable]: text } },
      { env: { HOME: '/nowhere', CONTREE_MCP_CONFIG: file.path } },
    ]) {
      assert.equal(read({ program: 'contree-mcp', ...sources })[name], value, `${flag} ${JSON.stringify(sources)}`);
    }
  }
});

test('an empty variable is as good as none', () => {
  assert.equal(read({ env: { HOME: '/nowhere', CONTREE_HTTP_PORT: '' } }).httpPort, 9452);
});

test('a profile is a section whose values win over [DEFAULT]', () => {
  using file = configFile(
    '# here\n[DEFAULT]\ntoken = one\nurl = https://a.example/\n[work]\nurl = https://b.example/x/v1/\n',
  );
  const settings = read({ flags: { config: file.path, profile: 'work' } });
  assert.deepEqual([settings.url, settings.token], ['https://b.example/x', 'one']);
  assert.equal(read({ flags: { config: file.path } }).url, 'https://a.example');
  assert.throws(() => read({ flags: { config: file.path, profile: 'play' } }), refusal(/nor a section \[play\]/u));
});

test('a profile that the hosted command line has saved is used when it is asked for', () => {
  const folder = mkdtempSync(join(tmpdir(), 'contree-auth-'));
  mkdirSync(join(folder, 'contree'));
  const env = { HOME: '/nowhere', XDG_CONFIG_HOME: folder };
  const saved =
    '[DEFAULT]\nprofile = work\n\n[profile:work]\nurl = https://a.example/sandboxes/\ntoken = t\ntype = iam\nproject = p\n';
  writeFileSync(join(folder, 'contree', 'auth.ini'), saved);
  const { url, token, project } = read({ env, flags: { profile: 'work' } });
  assert.deepEqual([url, token, project], ['https://a.example/sandboxes', 't', 'p']);
  assert.equal(read({ env }).url, '', 'its default is not ours: nobody leaves this machine unasked');
  assert.equal(read({ env, flags: { profile: 'work', url: 'http://b.example' } }).url, 'http://b.example');
  assert.throws(() => read({ env, flags: { profile: 'play' } }), refusal(/there is no profile "play"/u));
  writeFileSync(join(folder, 'contree', 'contree.ini'), 'http_port = 1\n[play]\nurl = https://c.example\n');
  assert.deepEqual(
    [read({ env, flags: { profile: 'work' } }).url, read({ env, flags: { profile: 'work' } }).httpPort],
    ['https://a.example/sandboxes', 1],
  );
  assert.equal(read({ env, flags: { profile: 'play' } }).url, 'https://c.example');
  assert.throws(() => read({ env, flags: { profile: 'none' } }), refusal(/nor a section \[none\]/u));
  rmSync(folder, { recursive: true });
});

test('every wrong value names its setting and what was expected', () => {
  assert.throws(
    () => read({ flags: { httpPort: '70000' } }),
    refusal(/--http-port: expected a whole number from 0 to/u),
  );
  assert.throws(() => read({ flags: { httpPort: '-1' } }), refusal(/--http-port/u));
  assert.throws(() => read({ flags: { accelerator: 'xen' } }), refusal(/--accelerator: expected auto, kvm, emulated/u));
  assert.throws(() => read({ env: { CONTREE_URL: 'ftp://x' } }), refusal(/CONTREE_URL: expected an http/u));
  assert.throws(() => read({ flags: { url: 'https://u:p@x' } }), refusal(/credentials do not belong/u));
  assert.throws(() => read({ flags: { tlsCert: 'a.pem' } }), refusal(/given together/u));
  assert.throws(() => read({ flags: { config: '/nowhere/x.ini' } }), refusal(/setting config/u));
});

test('a configuration file with a misspelt key or a broken line is refused', () => {
  using misspelt = configFile('htp_port = 1\n');
  assert.throws(() => read({ flags: { config: misspelt.path } }), refusal(/htp_port: the configuration file has no/u));
  using broken = configFile('\n\nwhat is this\n');
  assert.throws(() => read({ flags: { config: broken.path } }), refusal(/line 3/u));
  using proto = configFile('__proto__ = 1\n');
  assert.throws(() => read({ flags: { config: proto.path } }), refusal(/line 1/u));
});

test('the data directory follows XDG and becomes absolute', () => {
  assert.equal(read({ env: { HOME: '/home/a' } }).dataDir, '/home/a/.local/share/contree');
  assert.equal(read({ env: { XDG_DATA_HOME: '/d' } }).dataDir, '/d/contree');
  assert.equal(read({ flags: { dataDir: 'x' } }).dataDir, join(process.cwd(), 'x'));
});

test('lists and switches are read in every spelling', () => {
  const { tools, readOnly } = read({ program: 'contree-mcp', flags: { tools: 'run, rsync,', readOnly: '' } });
  assert.deepEqual([tools, readOnly], [['run', 'rsync'], true]);
  assert.equal(read({ program: 'contree-mcp', env: { CONTREE_MCP_READ_ONLY: 'off' } }).readOnly, false);
  assert.equal(read({ flags: { readOnly: '1' } }).readOnly, false, 'contree has no such setting');
});

test('engineArguments carries what differs from the default, and no secret', () => {
  const settings = read({
    flags: { dataDir: '/d', accelerator: 'kvm', allowedRegistries: 'a,b', token: 'secret', httpPort: '1' },
  });
  assert.deepEqual(engineArguments(settings), ['--data-dir=/d', '--accelerator=kvm', '--allowed-registries=a,b']);
});

test('a data directory too deep for a socket gets a short socket path, always the same', () => {
  const deep = `/${'x'.repeat(120)}`;
  const { socket } = engineFiles(deep, { XDG_RUNTIME_DIR: '/run/user/1' });
  assert.ok(Buffer.byteLength(socket) < 108 && socket.startsWith('/run/user/1/contree-'), socket);
  assert.equal(socket, engineFiles(deep, { XDG_RUNTIME_DIR: '/run/user/1' }).socket);
  assert.notEqual(socket, engineFiles(`${deep}y`, { XDG_RUNTIME_DIR: '/run/user/1' }).socket);
  assert.ok(engineFiles(deep, {}).socket.startsWith(join(tmpdir(), 'contree-')));
  assert.equal(engineFiles('/d', {}).socket, '/d/engine.sock');
});

test('the settings document lists every flag once', () => {
  const document = settingsDocument();
  for (const { flag } of Object.values(SETTINGS)) {
    assert.equal(document.split(`| \`--${flag}\``).length + document.split(`| \`--${flag} `).length, 3, flag);
  }
});

test('times have units, and what a background engine is given reads as the same', () => {
  const flags = {
    instanceIdleTimeout: '90',
    instanceLifetime: '2h',
    instanceMaxLifetime: '3d',
    instanceCheckpoint: '5m',
  };
  const settings = read({ flags });
  assert.deepEqual(
    [
      settings.instanceIdleTimeout,
      settings.instanceLifetime,
      settings.instanceMaxLifetime,
      settings.instanceCheckpoint,
    ],
    [90, 7_200, 259_200, 300],
  );
  const passed = engineArguments(settings);
  assert.ok(passed.includes('--instance-lifetime=7200') && passed.includes('--instance-checkpoint=300'));
  assert.equal(read({ flags: { instanceLifetime: '7200' } }).instanceLifetime, 7_200);
  for (const wrong of ['', '0', '8d', '1.5h', '2 h', 'soon', '-1']) {
    assert.throws(() => read({ flags: { instanceLifetime: wrong } }), refusal(/--instance-lifetime.*90s, 30m or 2h/u));
  }
});
