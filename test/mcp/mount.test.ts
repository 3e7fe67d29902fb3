import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { inProcessContree } from '../../src/client/in-process.ts';
import { isFault } from '../../src/contract/errors.ts';
import { createApp } from '../../src/http/app.ts';
import { OWNER, type Principal } from '../../src/http/auth.ts';
import type { Permission } from '../../src/contract/permissions.ts';
import { SILENT } from '../../src/http/log.ts';
import { mcpMount } from '../../src/app/mcp-mount.ts';
import { addRoot } from '../engine/bench.ts';
import { startServer } from '../support/servers/http-server.ts';
import { answerOf } from '../support/mcp/client.ts';
import { serveBench } from '../support/servers/served-engine.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

const principal = (...permissions: Permission[]): Principal => ({ ...OWNER, permissions: new Set(permissions) });
const TOKENS: Readonly<Record<string, Principal>> = {
  reader: principal('list'),
  runner: principal('list', 'spawn_disposable'),
};

test('a token may do by MCP what it may do by the API, and no more', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/f': 'text' }, 'base');
  await using mount = mcpMount({ version: '0', log: () => undefined });
  const authentication = { kind: 'token' as const, verifier: { verify: async (token: string) => TOKENS[token] } };
  const origin = { names: [], anyHost: false };
  await using server = await startServer({ contree, mounts: [mount], authentication, origin });
  const url = new URL('/mcp', server.address);
  const call = async (token: string, name: string, args: Record<string, unknown>) => {
    const client = new Client({ name: 'test', version: '0' }, { versionNegotiation: { mode: 'auto' } });
    const requestInit = { headers: { Authorization: `Bearer ${token}` } };
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit }));
    const answer = answerOf(await client.callTool({ name, arguments: args }));
    await client.close();
    return answer;
  };
  assert.equal((await call('reader', 'list_images', {})).structured.images.length, 1);
  const refused = await call('reader', 'run', { command: 'echo hi', image });
  assert.ok(refused.isError);
  assert.match(refused.text, /spawn/u);
  assert.equal((await call('runner', 'run', { command: 'echo hi', image })).structured.stdout, 'hi\n');
  assert.ok((await call('runner', 'run', { command: 'echo hi', image, disposable: false })).isError);
  assert.equal(contree.spawned.length, 1);
  assert.equal((await fetch(url, { method: 'POST', body: '{}' })).status, 401);
});

test('attack 45: by MCP too a token sees its own project only', async () => {
  await using mount = mcpMount({ version: '0', log: () => undefined });
  await using served = await serveBench({ mounts: [mount] });
  const { uuid: image } = await addRoot(served.bench.store.forProject('alpha'));
  await served.bench.engine.forTenant({ project: 'alpha' }).tags.set(image, { tag: 'secret' });
  const call = async (token: string, name: string, args: Record<string, unknown>) => {
    const client = new Client({ name: 'test', version: '0' }, { versionNegotiation: { mode: 'auto' } });
    const requestInit = { headers: { Authorization: `Bearer ${token}` } };
    await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', served.address), { requestInit }));
    const answer = answerOf(await client.callTool({ name, arguments: args }));
    await client.close();
    return answer;
  };
  const [alpha, beta] = [await served.client({ project: 'alpha' }), await served.client({ project: 'beta' })];
  assert.equal((await call(alpha.token, 'list_images', {})).structured.images.length, 1);
  assert.equal((await call(beta.token, 'list_images', {})).structured.images.length, 0);
  for (const name of [image, 'tag:secret']) {
    assert.match((await call(beta.token, 'list_files', { image: name, path: '/' })).text, /^IMAGE_NOT_FOUND/u);
    assert.match((await call(beta.token, 'run', { image: name, command: 'true' })).text, /^IMAGE_NOT_FOUND/u);
  }
  assert.equal((await call(alpha.token, 'run', { image: 'tag:secret', command: 'true' })).structured.exit_code, 0);
});

test('an answer that breaks off within the process does not look whole', async () => {
  const contree = new ScriptedContree();
  contree.files.archive = async () =>
    (async function* () {
      yield Buffer.alloc(100);
      throw new Error('the disk is gone');
    })();
  const image = contree.addImage({ '/f': 'text' });
  const authentication = { kind: 'fixed' as const, principal: OWNER };
  const local = inProcessContree(
    createApp({ contreeFor: () => contree, log: SILENT, version: '1', authentication }),
    {},
  );
  await assert.rejects(Array.fromAsync(await local.files.archive(image, { path: '/' })), /broke off/u);
  await assert.rejects(local.images.get('tag:nope'), (error) => isFault(error, 'IMAGE_NOT_FOUND'));
});
