import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { openCli, type CliBench } from '../support/cli-bench.ts';
import { answerOf, type ToolAnswer } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

const PROGRAM = new URL('../../bin/contree-mcp', import.meta.url).pathname;

interface Started extends AsyncDisposable {
  readonly names: readonly string[];
  call(name: string, args: Record<string, unknown>, options?: { signal?: AbortSignal }): Promise<ToolAnswer>;
}

/** Starts the real program on a scripted engine, with a client on its streams. */
async function start(
  cli: CliBench,
  flags: readonly string[],
  options: { env?: Readonly<Record<string, string>>; cwd?: string } = {},
): Promise<Started> {
  const client = new Client({ name: 'test', version: '0' });
  const env = { PATH: process.env['PATH'] ?? '', HOME: cli.folder, ...options.env };
  const args = [PROGRAM, '--data-dir', cli.folder, ...flags];
  const cwd = options.cwd ?? cli.folder;
  await client.connect(new StdioClientTransport({ command: process.execPath, args, env, cwd, stderr: 'ignore' }));
  const { tools } = await client.listTools();
  return {
    names: tools.map(({ name }) => name),
    call: async (name, args, request) => answerOf(await client.callTool({ name, arguments: args }, request)),
    [Symbol.asyncDispose]: () => client.close(),
  };
}

test('--read-only offers what changes nothing; --tools what was named', async () => {
  await using cli = await openCli();
  await using readOnly = await start(cli, ['--read-only']);
  assert.deepEqual(readOnly.names.toSorted(), [
    'diff',
    'get_guide',
    'get_image',
    'get_operation',
    'grep',
    'list_files',
    'list_images',
    'list_operations',
    'read_file',
    'wait_operations',
    'whoami',
  ]);
  await using chosen = await start(cli, [], { env: { CONTREE_MCP_TOOLS: 'whoami,list_images' } });
  assert.deepEqual(chosen.names.toSorted(), ['list_images', 'whoami']);
});

test('local tools reach the named folders, else the one the server was started in, or none', async () => {
  await using cli = await openCli();
  const [root, other] = [join(cli.folder, 'root'), join(cli.folder, 'other')];
  for (const folder of [root, other]) {
    await mkdir(folder);
    await writeFile(join(folder, 'file'), folder);
  }
  const sync = async (server: Started, source: string): Promise<string> => {
    const { isError, text, structured } = await server.call('rsync', { source, destination: '/work' });
    return isError ? text : `${structured.files} file`;
  };
  await using named = await start(cli, ['--fs-root', root]);
  assert.equal(await sync(named, root), '1 file');
  const refused = await sync(named, other);
  assert.match(refused, /^PATH_OUTSIDE_ROOT/u);
  assert.ok(refused.includes(root), 'the allowed folder is said');
  await using inside = await start(cli, [], { cwd: other });
  assert.equal(await sync(inside, other), '1 file');
  assert.match(await sync(inside, root), /^PATH_OUTSIDE_ROOT/u);
  await using none = await start(cli, ['--no-local-fs', '--fs-root', root]);
  assert.deepEqual([none.names.includes('rsync'), none.names.includes('download')], [false, false]);
  assert.match((await none.call('upload', { path: join(root, 'file') })).text, /^PATH_OUTSIDE_ROOT/u);
  assert.equal((await none.call('upload', { content: 'text' })).isError, false);
});

test('--inline-wait is how long a call waits for a client that shows no progress', async () => {
  await using cli = await openCli(new ScriptedContree({ work: ({ signalled }) => signalled.then(() => -1) }));
  const image = cli.contree.addImage();
  await writeFile(join(cli.folder, 'mcp.ini'), '[DEFAULT]\ninline_wait = 1\n');
  await using server = await start(cli, ['--config', join(cli.folder, 'mcp.ini')]);
  const { structured } = await server.call('run', { command: 'work', image });
  assert.equal(structured.status, 'EXECUTING');
});

test('--env-from offers variables of the server, and no others', async () => {
  await using cli = await openCli();
  const image = cli.contree.addImage();
  const env = { DEPLOY_KEY: 'canary-77', CONTREE_MCP_ENV_FROM: 'DEPLOY_KEY,NOT_SET' };
  await using server = await start(cli, [], { env });
  assert.deepEqual((await server.call('whoami', {})).structured.env_from, ['DEPLOY_KEY']);
  await server.call('run', { command: 'true', image, env_from: ['DEPLOY_KEY'] });
  assert.deepEqual(cli.contree.spawned.at(-1)?.env, { DEPLOY_KEY: 'canary-77' });
  assert.match((await server.call('run', { command: 'true', image, env_from: ['HOME'] })).text, /^ARGUMENT_INVALID/u);
});

test('digests of local files are kept where --cache-files says', async () => {
  await using cli = await openCli();
  const root = join(cli.folder, 'root');
  await mkdir(root);
  const cache = join(cli.folder, 'digests.db');
  const flags = ['--fs-root', root, '--cache-files', cache, '--cache-prune-days', '7', '--cache-general', '/nowhere'];
  await using server = await start(cli, flags);
  assert.equal((await server.call('rsync', { source: root, destination: '/w' })).isError, false);
  await writeFile(cache, '', { flag: 'r+' });
});
