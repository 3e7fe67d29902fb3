import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

/** Values that are noise in an answer: null, empty lists, and numbers with a tail of digits. */
function noiseIn(value: unknown, path = ''): string[] {
  if (value === null) return [`${path} is null`];
  if (typeof value === 'number') return /\.\d{4,}/u.test(String(value)) ? [`${path} is ${value}`] : [];
  if (typeof value !== 'object') return [];
  const entries = Object.entries(value);
  // The list that was asked for may be empty.
  if (Array.isArray(value) && entries.length === 0 && path.split('.').length > 2) return [`${path} is empty`];
  return entries.flatMap(([name, item]) => noiseIn(item, `${path}.${name}`));
}

test('the answer of a run begins with its end and its output, and repeats nothing', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({}, 'base');
  await using mcp = await connectMcp(contree);
  const { structured } = await mcp.call('run', { image, command: 'echo hi' });
  assert.deepEqual(Object.keys(structured), ['exit_code', 'stdout', 'status', 'operation_id']);
  assert.ok(JSON.stringify(structured).length < 120);
  const failed = (await mcp.call('run', { image, command: 'warn oh' })).structured;
  assert.deepEqual(Object.keys(failed).slice(0, 3), ['exit_code', 'stdout', 'stderr']);
  const started = (await mcp.call('run', { image, command: 'true', wait: false })).structured;
  assert.deepEqual(Object.keys(started), ['status', 'operation_id']);
  const waited = (await mcp.call('wait_operations', { operation_ids: [started.operation_id] })).structured;
  assert.deepEqual(Object.keys(waited), ['results']);
  assert.deepEqual(Object.keys(waited.results[started.operation_id]), ['exit_code', 'stdout', 'status']);
});

test('what a run used is shown by get_operation only', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  const { get } = contree.operations;
  contree.operations.get = async (...args) => {
    const operation = await get(...args);
    if (!('result' in operation.metadata)) return operation;
    const resources = {
      user_cpu_time: 0.2,
      system_cpu_time: 0.02700700000000001,
      max_rss: 1_660,
      cost: 0.22700700000000001,
    };
    const result = { ...operation.metadata.result, resources };
    const execution = { sandbox: 'microvm', accelerator: 'emulated', jail: { missing: [] } };
    return { ...operation, execution, metadata: { ...operation.metadata, result } } as unknown as typeof operation;
  };
  await using mcp = await connectMcp(contree);
  const ran = (await mcp.call('run', { image, command: 'true' })).structured;
  assert.ok(!('cost' in ran) && !('cpu_s' in ran));
  assert.deepEqual([ran.sandbox, ran.accelerator], ['microvm', 'emulated'], 'what isolates a run is told with it');
  const { structured: shown } = await mcp.call('get_operation', { operation_id: ran.operation_id });
  assert.deepEqual([shown.cpu_s, shown.cost, shown.sandbox, shown.accelerator], [0.23, 0.23, 'microvm', 'emulated']);
});

test('no answer has nulls, empty lists, float noise or its own arguments in it', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage({ '/d/f': 'text' });
  const other = contree.addImage({ '/d/f': 'text', '/d/g': 'more' });
  await using mcp = await connectMcp(contree);
  const { operation_id } = (await mcp.call('run', { image, command: 'echo hi' })).structured;
  const calls: Readonly<Record<string, Record<string, unknown>>> = {
    list_images: { tag_prefix: 'none/' },
    get_image: { image },
    import_image: { registry_url: 'docker://busybox' },
    set_tag: { image_uuid: image, tag: 'base' },
    run: { image, command: 'true', disposable: false },
    wait_operations: { operation_ids: [operation_id] },
    get_operation: { operation_id },
    list_operations: {},
    list_files: { image, path: '/d' },
    read_file: { image, path: '/d/f' },
    grep: { image, patterns: ['text'] },
    diff: { from_image: image, to_image: other },
    upload: { content: 'text' },
    whoami: {},
  };
  for (const [name, args] of Object.entries(calls)) {
    const { structured } = await mcp.call(name, args);
    assert.deepEqual(noiseIn(structured), [], name);
    const repeated = Object.keys(args).filter((field) => structured[field] === args[field]);
    // Its tag is the outcome of set_tag.
    assert.deepEqual(repeated, name === 'set_tag' ? ['tag'] : [], name);
  }
  await mcp.call('set_tag', { image_uuid: image, tag: 'base' });
  const { structured } = await mcp.call('list_files', { image: 'tag:base' });
  assert.equal(structured.image_uuid, image, 'what a tag stood for is told');
});

test('the text of a run begins with its end, not with SUCCESS, which says only that it was run', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  assert.match((await mcp.call('run', { image, command: 'false' })).text, /^exit code 1 · /u);
  const { operation_id } = (await mcp.call('run', { image, command: 'sleep', wait: false })).structured;
  await contree.processes.kill(operation_id, 1, { signal: 'KILL' });
  assert.match((await mcp.call('wait_operations', { operation_ids: [operation_id] })).text, /^ended by SIGKILL · /u);
  assert.match((await mcp.call('import_image', { registry_url: 'docker://busybox' })).text, /^SUCCESS · /u);
});
