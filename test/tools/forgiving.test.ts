import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

test('every tool that takes an image takes the whole name of a tag', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/f': 'text' }, 'rich');
  contree.addImage({ '/f': 'text' }, 'python:3.11-slim');
  await using mcp = await connectMcp(contree);
  const calls: Readonly<Record<string, object>> = {
    get_image: { image: 'rich' },
    run: { image: 'rich', command: 'true' },
    list_files: { image: 'rich' },
    read_file: { image: 'rich', path: '/f' },
    diff: { from_image: 'rich', to_image: 'python:3.11-slim' },
    set_tag: { image_uuid: 'rich', tag: 'other' },
  };
  for (const [name, args] of Object.entries(calls)) {
    const { isError, text } = await mcp.call(name, args as Record<string, unknown>);
    assert.equal(isError, false, `${name}: ${text}`);
  }
  assert.equal(contree.spawned[0]?.image, image);
  assert.equal((await contree.images.get('tag:other')).uuid, image);
});

test('a name that is no tag fails as a tag does, with the closest ones to call again with', async () => {
  const contree = new ScriptedContree();
  contree.addImage({}, 'rich');
  await using mcp = await connectMcp(contree);
  for (const image of ['rihc', 'tag:rihc']) {
    const { text } = await mcp.call('read_file', { image, path: '/f' });
    assert.match(text, /^IMAGE_NOT_FOUND: no image tag:rihc; closest: tag:rich\nUse image="tag:rich" if that was/u);
  }
});

test('a misspelt path of an image names the files it may mean', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/etc/os-release': 'x', '/etc/hosts': 'x', '/srv/app/main.py': 'x' });
  await using mcp = await connectMcp(contree);
  const read = async (path: string): Promise<string> => (await mcp.call('read_file', { image, path })).text;
  assert.match(
    await read('/etc/os-relase'),
    /^FILE_NOT_FOUND: .*; \/etc exists; closest: "\/etc\/os-release"\nCall list_files/u,
  );
  assert.match(await read('/srv/ap/main.py'), /; \/srv exists; closest: "\/srv\/app"\n/u);
  assert.match(await read('/etc/nothing-like-it'), /; \/etc exists\n/u);
});

test('run takes a command as a list, numbers and switches as variables, and null to unset one', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  const list = await mcp.call('run', { image, command: ['echo', 'a b', 7] });
  assert.equal(list.structured.stdout, 'a b 7\n');
  assert.deepEqual([contree.spawned[0]?.shell, contree.spawned[0]?.args], [false, ['a b', '7']]);
  await mcp.call('run', { image, command: ['echo one'], env: { PORT: 8080, CI: true, GONE: null } });
  assert.deepEqual(contree.spawned[1]?.env, { PORT: '8080', CI: 'true', GONE: null });
  assert.equal(contree.spawned[1]?.shell, true, 'a list of one is a line');
  const wrong = await mcp.call('run', { image, cmd: 'true' });
  assert.match(wrong.text, /argument "command" is required; ignored argument 'cmd'; did you mean command\?/u);
});

test('run sets the mode of files it brings', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  await mcp.call('run', { image, command: 'true', files: { '/a': 'u1', '/b.sh': { uuid: 'u2', mode: '0755' } } });
  assert.deepEqual(contree.spawned[0]?.files, { '/a': { uuid: 'u1' }, '/b.sh': { uuid: 'u2', mode: '0755' } });
});

test('run refuses hosts that its network mode would ignore, and an allowlist without any', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  for (const [args, reason] of [
    [{ network: 'none', allow: ['example.org'] }, /argument "allow" needs network="allowlist"/u],
    [{ network: 'public', allow: ['example.org'] }, /argument "allow" needs network="allowlist"/u],
    [{ network: 'allowlist' }, /argument "allow" is required with network="allowlist"/u],
  ] as const) {
    assert.match((await mcp.call('run', { image, command: 'true', ...args })).text, reason);
  }
  assert.equal((await mcp.call('run', { image, command: 'true', allow: ['example.org'] })).isError, false);
});

test('of several operations each says whether it was cancelled', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  const ended = (await mcp.call('run', { image, command: 'true' })).structured.operation_id;
  const open = (await mcp.call('run', { image, command: 'sleep', wait: false })).structured.operation_id;
  const { structured } = await mcp.call('cancel_operation', { operation_ids: [open, ended] });
  assert.equal('cancelled' in structured, false, 'there is no sum of different outcomes');
  assert.deepEqual(
    structured.operations.map(({ cancelled, status }: { cancelled: boolean; status: string }) => [cancelled, status]),
    [
      [true, 'CANCELLED'],
      [false, 'SUCCESS'],
    ],
  );
  assert.equal((await mcp.call('cancel_operation', { operation_id: ended })).structured.cancelled, false);
});

test('a bound that is always exceeded is not called temporary', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  const { get } = contree.operations;
  contree.operations.get = async (...args) => ({
    ...(await get(...args)),
    status: 'FAILED',
    error: 'the run wrote more than the 1000 bytes it is allowed',
    error_code: 'LAYER_BYTES_EXCEEDED',
  });
  await using mcp = await connectMcp(contree);
  const { text } = await mcp.call('run', { image, command: 'true', max_layer_bytes: 1_000 });
  assert.match(text, /^LAYER_BYTES_EXCEEDED: .*\nWrite less, or call run again with a larger max_layer_bytes\.$/u);
});
