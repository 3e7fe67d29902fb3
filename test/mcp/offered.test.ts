import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

test('prompts that lead to tools a server does not offer are not offered either', async () => {
  const names = async (options: object): Promise<string[]> => {
    await using mcp = await connectMcp(new ScriptedContree(), 'modern', options);
    return (await mcp.client.listPrompts()).prompts.map(({ name }) => name);
  };
  const all = await names({ localFiles: {} as never });
  assert.ok(all.includes('sync-and-run') && all.includes('run-shell'));
  const without = await names({});
  assert.deepEqual(
    all.filter((name) => !without.includes(name)),
    ['sync-and-run', 'build-project', 'multi-stage-build'],
    'without local folders there is no rsync',
  );
  assert.deepEqual(await names({ readOnly: true }), ['inspect-image']);
});

test('guides and instructions name the tools that a server does not offer', async () => {
  await using mcp = await connectMcp(new ScriptedContree(), 'modern');
  const { content } = (await mcp.call('get_guide', { section: 'workflow' })).structured;
  assert.match(
    content,
    /^This server does not offer rsync, download: leave those calls out\.\n\n`\$image_uuid` .*\n\n# Work/u,
  );
  const { contents } = await mcp.client.readResource({ uri: 'contree://guide/workflow' });
  assert.deepEqual(
    contents.map((item) => 'text' in item && item.text),
    [content],
  );
  assert.match(
    (await mcp.call('get_guide', { section: 'tagging' })).structured.content,
    /^`\$image_uuid` and the like stand for/u,
  );
  assert.match(mcp.client.getInstructions() ?? '', /Not offered by this server: rsync, download\./u);
  await using whole = await connectMcp(new ScriptedContree(), 'modern', { localFiles: {} as never });
  assert.doesNotMatch(whole.client.getInstructions() ?? '', /Not offered/u);
});

test('commands for the user are written as the user can run them', async () => {
  await using mcp = await connectMcp(new ScriptedContree(), 'modern', { program: '/opt/clone/bin/contree' });
  const { text } = await mcp.call('registry_auth', { registry_url: 'ghcr.io' });
  assert.match(text, /in their own terminal: \/opt\/clone\/bin\/contree auth registry ghcr\.io\./u);
  const { content } = (await mcp.call('get_guide', { section: 'errors' })).structured;
  assert.match(content, /"\/opt\/clone\/bin\/contree doctor"/u);
  await using installed = await connectMcp(new ScriptedContree(), 'modern');
  assert.match((await installed.call('registry_auth', { registry_url: 'ghcr.io' })).text, /: contree auth registry/u);
});
