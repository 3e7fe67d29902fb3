import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fault } from '../../src/contract/errors.ts';
import { connectMcp, ERAS } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

const ANNOUNCED = [
  'list_images',
  'get_image',
  'import_image',
  'set_tag',
  'run',
  'wait_operations',
  'get_operation',
  'list_operations',
  'cancel_operation',
  'list_files',
  'read_file',
  'rsync',
  'upload',
  'download',
  'registry_auth',
  'registry_token_obtain',
  'get_guide',
];

for (const era of ERAS) {
  test(`${era}: the branching story of the announcement`, async () => {
    const contree = new ScriptedContree({
      pip: ({ write, out }) => (write('/usr/lib/pytest', 'x'), out('installed\n'), 0),
      fix: ({ args, write }) => (write(`/fixed-${args[0]}`, `by ${args[0]}`), args[0] === 'b' ? 0 : 1),
    });
    await using mcp = await connectMcp(contree, era);
    assert.deepEqual((await mcp.call('list_images', { tag_prefix: 'common/' })).structured.images, []);
    const base = (await mcp.call('import_image', { registry_url: 'docker://python:3.11-slim' })).structured;
    assert.equal(base.status, 'SUCCESS');
    const prepared = await mcp.call('run', {
      command: 'pip install pytest',
      image: base.image_uuid,
      disposable: false,
    });
    assert.equal(prepared.structured.exit_code, 0);
    assert.equal(prepared.structured.stdout, 'installed\n');
    assert.match(prepared.text, /^exit code 0 .*image [0-9a-f-]{36}/u);
    const image = prepared.structured.image_uuid;
    const tagged = await mcp.call('set_tag', { image_uuid: image, tag: 'common/pytest/python:3.11-slim' });
    assert.equal(tagged.structured.uuid, image);
    const ids: string[] = [];
    for (const branch of ['a', 'b']) {
      const started = await mcp.call('run', {
        command: `fix ${branch}`,
        image: 'tag:common/pytest/python:3.11-slim',
        disposable: false,
        wait: false,
      });
      assert.equal(started.structured.status, 'EXECUTING');
      ids.push(started.structured.operation_id);
    }
    const waited = (await mcp.call('wait_operations', { operation_ids: ids })).structured;
    assert.deepEqual(Object.keys(waited.results).toSorted(), ids.toSorted());
    assert.deepEqual([waited.pending, waited.timed_out], [undefined, undefined]);
    const winner = ids.map((id) => waited.results[id]).find((result) => result.exit_code === 0);
    const read = await mcp.call('read_file', { image: winner.image_uuid, path: '/fixed-b' });
    assert.deepEqual([read.structured.content, read.structured.encoding], ['by b', undefined]);
    const changed = await mcp.call('diff', { from_image: image, to_image: winner.image_uuid });
    assert.deepEqual(
      changed.structured.entries.map(({ path }: { path: string }) => path),
      ['/fixed-b'],
    );
  });

  test(`${era}: every announced tool is there, with all four annotations, title and schemas`, async () => {
    await using mcp = await connectMcp(new ScriptedContree(), era, { localFiles: {} as never });
    const { tools } = await mcp.client.listTools();
    const names = tools.map(({ name }) => name);
    for (const name of [...ANNOUNCED, 'grep', 'diff', 'whoami']) assert.ok(names.includes(name), name);
    assert.equal(names.length, 24);
    assert.ok(Buffer.byteLength(JSON.stringify(await mcp.client.listTools())) <= 16 * 1024);
    for (const { name, title, annotations, inputSchema, outputSchema } of tools) {
      assert.ok(title, name);
      assert.deepEqual(Object.keys(annotations ?? {}).toSorted(), [
        'destructiveHint',
        'idempotentHint',
        'openWorldHint',
        'readOnlyHint',
      ]);
      assert.equal(inputSchema.type, 'object', name);
      assert.equal(outputSchema?.['type'], 'object', name);
    }
  });

  test(`${era}: what fails says so first and the next call second`, async () => {
    const contree = new ScriptedContree();
    await using mcp = await connectMcp(contree, era);
    const missing = await mcp.call('get_image', { image: 'tag:common/none' });
    assert.equal(missing.isError, true);
    assert.equal(missing.structured, undefined);
    const [first, second] = missing.text.split('\n');
    assert.equal(first, 'IMAGE_NOT_FOUND: no image tag:common/none');
    assert.match(second ?? '', /^Call list_images\(tag_prefix="common\/"\)/u);
    assert.equal((missing.meta['contree/error'] as { code: string }).code, 'IMAGE_NOT_FOUND');
    const image = contree.addImage({ '/etc/hosts': 'x' });
    const directory = await mcp.call('read_file', { image, path: '/etc' });
    assert.match(directory.text, /^NOT_A_FILE: .*\nCall list_files\(path="\/etc"\)/u);
    const failed = await mcp.call('import_image', { registry_url: 'docker://missing' });
    assert.equal(failed.isError, true);
    assert.match(failed.text, /import [0-9a-f-]{36} failed: no image docker:\/\/missing/u);
  });

  test(`${era}: arguments that are wrong are named, ones that are unknown are named and ignored`, async () => {
    const contree = new ScriptedContree();
    contree.addImage({}, 'common/base');
    await using mcp = await connectMcp(contree, era);
    const wrong = await mcp.call('run', { image: 'tag:common/base', timeout: 99_999 });
    assert.equal(wrong.isError, true);
    assert.match(wrong.text, /^ARGUMENT_INVALID: run: argument "command" is required; argument "timeout": /u);
    const typo = await mcp.call('list_images', { tag_prefx: 'common/' });
    assert.equal(typo.isError, false);
    assert.equal(typo.structured.hint, "ignored argument 'tag_prefx'; did you mean tag_prefix?");
    assert.match(typo.text, /ignored argument 'tag_prefx'/u);
    const lenient = await mcp.call('run', {
      command: 'echo',
      image: 'tag:common/base',
      args: '["a","b"]',
      shell: 'false',
      timeout: '5',
    });
    assert.equal(lenient.structured.stdout, 'a b\n');
    assert.equal(contree.spawned.at(-1)?.timeout, 5);
  });

  test(`${era}: an unknown tool is a protocol error`, async () => {
    await using mcp = await connectMcp(new ScriptedContree(), era);
    await assert.rejects(mcp.call('no_such_tool'), { code: -32602 });
  });

  test(`${era}: a bug shows an incident id to the model and the whole error to the log`, async () => {
    const contree = new ScriptedContree();
    contree.system.whoami = () => Promise.reject(new TypeError('secret detail at /home/user'));
    await using mcp = await connectMcp(contree, era);
    const answer = await mcp.call('whoami');
    assert.match(answer.text, /^INTERNAL: internal error \(incident [0-9a-f]{8}\)/u);
    assert.ok(!answer.text.includes('secret'));
    assert.match(mcp.logged.join('\n'), /secret detail/u);
  });

  test(`${era}: the engine is connected on first need, and again after a failure`, async () => {
    let connections = 0;
    await using mcp = await connectMcp(async () => {
      connections += 1;
      if (connections === 1) throw fault('ENGINE_UNAVAILABLE', { reason: 'not yet' });
      return new ScriptedContree();
    }, era);
    await mcp.client.listTools();
    await mcp.client.listResources();
    assert.match((await mcp.call('get_guide', { section: 'errors' })).text, /# Errors/u);
    assert.equal(connections, 0);
    assert.match((await mcp.call('list_images')).text, /^ENGINE_UNAVAILABLE: .*\n.*\nThis can pass/u);
    assert.equal((await mcp.call('list_images')).isError, false);
    await mcp.call('list_images');
    assert.equal(connections, 2);
  });
}

test('read-only mode offers what changes nothing, a choice only what was chosen', async () => {
  await using readOnly = await connectMcp(new ScriptedContree(), 'modern', { readOnly: true, localFiles: {} as never });
  const { tools } = await readOnly.client.listTools();
  assert.ok(tools.every(({ annotations }) => annotations?.readOnlyHint));
  assert.ok(tools.length >= 10);
  assert.doesNotMatch(
    readOnly.client.getInstructions() ?? '',
    /disposable=false/u,
    'nothing is advised that is not offered',
  );
  await using chosen = await connectMcp(new ScriptedContree(), 'modern', { tools: ['run', 'list_images'] });
  assert.deepEqual(
    (await chosen.client.listTools()).tools.map(({ name }) => name),
    ['list_images', 'run'],
  );
  await assert.rejects(chosen.call('get_image', { image: 'x' }), { code: -32602 });
});

test('variables of the machine are passed on by name, only those that the user offered, and never shown', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  const secret = 'canary-9f2b';
  await using mcp = await connectMcp(contree, 'modern', { hostEnv: { API_TOKEN: secret } });
  const given = { command: 'true', image, env_from: ['API_TOKEN'], env: { MODE: 'test' } };
  const answer = await mcp.call('run', given);
  assert.deepEqual(contree.spawned.at(-1)?.env, { API_TOKEN: secret, MODE: 'test' });
  const shown = await mcp.call('get_operation', { operation_id: answer.structured.operation_id });
  const who = await mcp.call('whoami');
  assert.deepEqual(who.structured.env_from, ['API_TOKEN']);
  const told = [answer, shown, who, mcp.client.getInstructions(), mcp.logged];
  assert.match(mcp.client.getInstructions() ?? '', /env_from=\["NAME"\].*Offered: API_TOKEN\./u);
  assert.ok(!JSON.stringify(told).includes(secret));
  const refused = await mcp.call('run', { ...given, env_from: ['API_TOKEN', 'HOME'] });
  assert.match(refused.text, /^ARGUMENT_INVALID: .*does not pass on HOME \(offered: API_TOKEN\)/u);
  assert.match((await mcp.call('run', { ...given, preserve_env: true })).text, /preserve_env would keep the values/u);
  await using plain = await connectMcp(contree, 'modern');
  assert.match((await plain.call('run', given)).text, /offered: none; the user can start it with --env-from NAME/u);
  assert.doesNotMatch(plain.client.getInstructions() ?? '', /env_from/u);
  assert.equal(contree.spawned.length, 1);
});

test('instructions begin with what is enough by itself and have at most 2 KiB', async () => {
  const hostEnv = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`VARIABLE_OF_THE_HOST_${index}`, '']));
  for (const offered of [hostEnv, { A_TOKEN: '', ANOTHER_TOKEN: '' }]) {
    const options = { localFiles: {} as never, hostEnv: offered };
    await using mcp = await connectMcp(new ScriptedContree(), 'modern', options);
    const bytes = Buffer.byteLength(mcp.client.getInstructions() ?? '');
    assert.ok(bytes <= 2_048, `${bytes} bytes`);
  }
  await using mcp = await connectMcp(new ScriptedContree(), 'modern', { localFiles: {} as never });
  const instructions = mcp.client.getInstructions() ?? '';
  const head = instructions.slice(0, 1_000);
  for (const word of ['CHECK', 'PREPARE', 'EXECUTE', 'list_images', 'immutable', 'free'])
    assert.ok(head.includes(word), word);
});
