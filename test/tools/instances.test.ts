import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

async function bench(programs: ConstructorParameters<typeof ScriptedContree>[0] = {}) {
  const contree = new ScriptedContree(programs);
  contree.addImage({ '/etc/hosts': 'x' }, 'base');
  const mcp = await connectMcp(contree);
  const instance = async (): Promise<string> =>
    (await mcp.call('open_instance', { image: 'base' })).structured.instance;
  return { contree, mcp, instance, [Symbol.asyncDispose]: () => mcp[Symbol.asyncDispose]() };
}

test('an instance is opened, commands run in it, and its files become an image', async () => {
  await using bed = await bench();
  const { mcp, contree } = bed;
  const { structured, text } = await mcp.call('open_instance', {
    image: 'tag:base',
    env: { A: '1' },
    idle_timeout: 60,
  });
  const { instance } = structured;
  assert.deepEqual(Object.keys(structured).toSorted(), ['hint', 'image_uuid', 'instance']);
  assert.ok(text.includes(`run(instance="${instance}"`), text);
  const ran = await mcp.call('run', { instance, command: 'touch /made', timeout: 9, env: { B: '2' }, cwd: '/srv' });
  assert.deepEqual(ran.structured, {
    exit_code: 0,
    stdout: '',
    status: 'SUCCESS',
    duration_s: 0,
    operation_id: instance,
  });
  const [[, spec] = []] = contree.calls('processes', 'start');
  assert.deepEqual(spec, { command: 'touch /made', shell: true, timeout: 9, env: { B: '2' }, cwd: '/srv' });
  // The beginning of its UUID is enough.
  const failed = await mcp.call('run', { instance: instance.slice(0, 9), command: 'exit 3' });
  assert.deepEqual([failed.isError, failed.structured.exit_code], [false, 3]);
  const closed = await mcp.call('close_instance', { instance, tag: 'kept' });
  assert.equal(closed.structured.image_uuid, (await contree.images.get('tag:kept')).uuid);
  const files = await mcp.call('list_files', { image: 'tag:kept', path: '/' });
  assert.ok(files.structured.files.some(({ name }: { name: string }) => name === 'made'));
});

test('an image is made on request and with disposable=false, and results name the published ports', async () => {
  await using bed = await bench();
  const { mcp, contree } = bed;
  const { get } = contree.instances;
  const port = { port: 3_000, host_port: 41_234, url: 'http://3000-x.localhost:9452' };
  contree.instances.get = async (uuid) => ({ ...(await get(uuid)), ports: [port] });
  const opened = await mcp.call('open_instance', { image: 'base', publish: [3_000] });
  const { instance, ports } = opened.structured;
  assert.deepEqual(ports, [{ port: 3_000, address: 'http://127.0.0.1:41234', url: port.url }]);
  assert.match(opened.text, /port 3000: http:\/\/127\.0\.0\.1:41234 http:\/\/3000-x\.localhost:9452/u);
  const [[request] = []] = contree.calls('instances', 'open');
  assert.deepEqual(request?.publish, [{ port: 3_000 }]);
  const kept = await mcp.call('run', { instance, command: 'touch /made', disposable: false });
  assert.deepEqual(kept.structured.ports, ports);
  const same = await mcp.call('snapshot', { instance, tag: 'state' });
  assert.deepEqual(same.structured, { image_uuid: kept.structured.image_uuid, filesystem_changed: false });
  await mcp.call('run', { instance, command: 'touch /more' });
  const made = await mcp.call('snapshot', { instance, tag: 'state' });
  assert.equal(made.structured.image_uuid, (await contree.images.get('tag:state')).uuid);
  const shown = await mcp.call('get_operation', { operation_id: instance });
  assert.deepEqual(shown.structured.ports, ports);
});

test('a command that goes on is told by its number, with which its output is read', async () => {
  await using bed = await bench({
    serve: async ({ out, signalled }) => {
      out('listening\n');
      await signalled;
      return -1;
    },
  });
  const { mcp, contree } = bed;
  const instance = await bed.instance();
  const started = await mcp.call('run', { instance, command: 'serve', wait: false });
  const { process, status, hint } = started.structured;
  assert.deepEqual([status, hint.includes(`process=${process}`)], ['EXECUTING', true]);
  const waited = await mcp.call('run', { instance, command: 'echo side by side' });
  assert.equal(waited.structured.stdout, 'side by side\n');
  const output = await mcp.call('get_operation', { operation_id: instance, process, stream: 'stdout' });
  assert.equal(output.structured.content, 'listening\n');
  assert.deepEqual(contree.signalsSent, []);
});

test('a call that ends kills what it runs when the user stopped it', async () => {
  await using bed = await bench({ serve: async ({ signalled }) => (await signalled, -1) });
  const { mcp, contree } = bed;
  const instance = await bed.instance();
  const stop = new AbortController();
  const call = mcp.call('run', { instance, command: 'serve' }, { signal: stop.signal });
  for (let running = 0; running === 0;) running = (await contree.instances.get(instance)).processes.length;
  stop.abort();
  await assert.rejects(call);
  for (let kills = 0; kills === 0; await new Promise(setImmediate)) kills = contree.signalsSent.length;
  assert.deepEqual(contree.signalsSent, ['KILL']);
});

test('what cannot be is refused with the next step', async () => {
  await using bed = await bench();
  const { mcp } = bed;
  const none = await mcp.call('run', { instance: 'abc', command: 'true' });
  assert.match(none.text, /none is open; open_instance\(image=…\) opens one/u);
  assert.match((await mcp.call('run', { command: 'true' })).text, /argument "image" is required/u);
  const instance = await bed.instance();
  const unknown = await mcp.call('run', { instance: '00000000', command: 'true' });
  assert.ok(unknown.text.includes(`open are ${instance}`), unknown.text);
  const both = await mcp.call('run', { instance, command: 'true', image: 'tag:base', memory_mib: 512 });
  assert.match(both.text, /argument "image", argument "memory_mib": not with instance/u);
  await mcp.call('close_instance', { instance, keep: false });
  const late = await mcp.call('run', { instance, command: 'true' });
  assert.match(late.text, /INSTANCE_NOT_RUNNING.*\nCall get_operation\(operation_id="/u);
});
