import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDetailedTaskV2 } from '@modelcontextprotocol/ext-tasks/core/v2';
import { isUuid } from '../../src/contract/names.ts';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';
import { openTaskClient, TRANSPORTS, type TaskClient } from '../support/mcp/task-client.ts';
import { until } from '../support/time/until.ts';

/** Longer than a program that waits for nothing takes. */
const SOON = { taskAfterMs: 300 };

interface Gated {
  readonly contree: ScriptedContree;
  readonly image: string;
  readonly release: () => void;
}

/** An image with a program that runs until it is released, then writes a file and ends with 3. */
function gated(): Gated {
  const { promise, resolve } = Promise.withResolvers<void>();
  const contree = new ScriptedContree({
    work: async ({ out, write, signalled }) => {
      if ((await Promise.race([promise.then(() => undefined), signalled])) !== undefined) return -1;
      out('done\n');
      write('/made', 'x');
      return 3;
    },
  });
  return { contree, image: contree.addImage(), release: resolve };
}

// Tests assert on fields of many shapes.
// eslint-disable-next-line typescript/no-explicit-any
async function result(client: TaskClient, method: string, params: Record<string, unknown>): Promise<any> {
  const answer = await client.send(method, params);
  assert.equal(answer.kind, 'result', JSON.stringify(answer));
  return answer.kind === 'result' ? answer.result : undefined;
}

/** Returns the finished task, checked against the schema of the extension. */
async function ended(client: TaskClient, taskId: string): ReturnType<typeof result> {
  let task = await result(client, 'tasks/get', { taskId });
  await until(async () => {
    task = await result(client, 'tasks/get', { taskId });
    assert.ok(isDetailedTaskV2(task), JSON.stringify(task));
    return task.status !== 'working';
  });
  return task;
}

for (const transport of TRANSPORTS) {
  test(`${transport}: a run that takes long becomes a task, whose result is what the call would have answered`, async () => {
    const { contree, image, release } = gated();
    await using client = openTaskClient(contree, transport, SOON);
    const run = { name: 'run', arguments: { command: 'work', image, disposable: false } };
    const started = await result(client, 'tools/call', run);
    assert.deepEqual(
      [started.resultType, started.status, started.ttlMs, started.pollIntervalMs],
      ['task', 'working', null, 2_000],
    );
    assert.ok(isUuid(started.taskId));
    assert.equal((await contree.operations.get(started.taskId)).status, 'EXECUTING', 'the task is the operation');
    const working = await result(client, 'tasks/get', { taskId: started.taskId });
    assert.deepEqual([working.resultType, working.status], ['complete', 'working']);
    release();
    const task = await ended(client, started.taskId);
    assert.equal(task.status, 'completed');
    assert.equal(task.createdAt, started.createdAt);
    const waited = await result(client, 'tools/call', run);
    const { operation_id, status, exit_code, stdout } = task.result.structuredContent;
    assert.deepEqual([operation_id, status, exit_code, stdout], [started.taskId, 'SUCCESS', 3, 'done\n']);
    delete waited._meta;
    assert.deepEqual(Object.keys(task.result).toSorted(), Object.keys(waited).toSorted());
    assert.deepEqual(Object.keys(task.result.structuredContent), Object.keys(waited.structuredContent));
  });

  test(`${transport}: the official client sees the task through`, async () => {
    const { contree, image, release } = gated();
    await using client = openTaskClient(contree, transport, SOON);
    const execution = await client.tasks.callTool('run', { command: 'work', image });
    assert.equal(execution.kind, 'task');
    release();
    const { outcome } = await execution.settle();
    assert.equal(outcome.status, 'completed');
    assert.match(JSON.stringify(outcome), /exit code 3/u);
    const quick = await client.tasks.callTool('run', { command: 'echo hi', image });
    assert.equal(quick.kind, 'immediate');
  });

  test(`${transport}: tasks/cancel stops the operation, again and again`, async () => {
    const { contree, image } = gated();
    await using client = openTaskClient(contree, transport, SOON);
    const execution = await client.tasks.callTool('run', { command: 'work', image });
    await execution.cancel();
    const { outcome } = await execution.settle();
    assert.equal(outcome.status, 'cancelled');
    const [operation] = await contree.operations.list({});
    assert.equal(operation?.status, 'CANCELLED');
    assert.deepEqual((await result(client, 'tasks/cancel', { taskId: operation.uuid })).resultType, 'complete');
  });

  test(`${transport}: no client that did not declare tasks ever sees one`, async () => {
    const { contree, image, release } = gated();
    await using client = openTaskClient(contree, transport, { ...SOON, inlineWaitMs: 400 });
    const call = { name: 'run', arguments: { command: 'work', image } };
    const answer = await client.send('tools/call', call, false);
    assert.equal(answer.kind, 'result');
    const early = answer.kind === 'result' ? (answer.result as Awaited<ReturnType<typeof result>>) : undefined;
    assert.deepEqual([early.resultType, early.structuredContent.status], ['complete', 'EXECUTING']);
    assert.equal('taskId' in early, false);
    for (const method of ['tasks/get', 'tasks/update', 'tasks/cancel']) {
      const refused = await client.send(method, { taskId: early.structuredContent.operation_id }, false);
      assert.equal(refused.kind, 'error');
      assert.equal(refused.kind === 'error' && refused.error.code, -32_021, method);
      assert.match(JSON.stringify(refused), /"io\.modelcontextprotocol\/tasks":\{\}/u);
    }
    assert.equal((await contree.operations.list({}))[0]?.status, 'EXECUTING');
    release();
  });

  test(`${transport}: an id that is none is an error that says what to do`, async () => {
    await using client = openTaskClient(new ScriptedContree(), transport);
    for (const method of ['tasks/get', 'tasks/update', 'tasks/cancel']) {
      for (const taskId of ['nope', '', '../x', 7]) {
        const answer = await client.send(method, { taskId, inputResponses: {} });
        assert.equal(answer.kind === 'error' && answer.error.code, -32_602, `${method} ${taskId}`);
      }
    }
  });
}

test('an import becomes a task too; a failed one is a completed task with an error the model can read', async () => {
  const contree = new ScriptedContree();
  const { promise, resolve } = Promise.withResolvers<void>();
  contree.importsEnd = promise;
  await using client = openTaskClient(contree, 'stdio', SOON);
  const fine = await client.tasks.callTool('import_image', { registry_url: 'docker://slow', tag: 'common/slow' });
  const failing = await client.tasks.callTool('import_image', { registry_url: 'docker://missing' });
  assert.deepEqual([fine.kind, failing.kind], ['task', 'task']);
  resolve();
  const [{ outcome: good }, { outcome: bad }] = [await fine.settle(), await failing.settle()];
  assert.match(JSON.stringify(good), /"tag":"common\/slow"/u);
  assert.equal(bad.status, 'completed');
  const { isError, content } = bad.status === 'completed' ? (bad.result as Awaited<ReturnType<typeof result>>) : {};
  assert.equal(isError, true);
  assert.match(content[0].text, /^REMOTE_FAILED: import [0-9a-f-]{36} failed: no image docker:\/\/missing/u);
});

test('a task outlives the server that made it, and is an operation under any name', async () => {
  const { contree, image, release } = gated();
  // Like a connection to an engine, whose operations continue without it.
  contree[Symbol.asyncDispose] = () => Promise.resolve();
  let taskId = '';
  {
    await using first = openTaskClient(contree, 'stdio', SOON);
    const { taskId: id } = await result(first, 'tools/call', {
      name: 'run',
      arguments: { command: 'work', image },
      _meta: {},
    });
    taskId = id;
  }
  release();
  await using second = openTaskClient(contree, 'http', SOON);
  assert.deepEqual((await result(second, 'tasks/update', { taskId, inputResponses: {} })).resultType, 'complete');
  assert.equal((await ended(second, taskId)).status, 'completed');
  const named = await result(second, 'tools/call', { name: 'get_operation', arguments: { operation_id: taskId } });
  assert.equal(named.structuredContent.exit_code, 3);
});

test('a bug in asking for a task shows an incident id only', async () => {
  const contree = new ScriptedContree();
  contree.operations.get = () => Promise.reject(new TypeError('secret detail at /home/user'));
  await using client = openTaskClient(contree, 'stdio');
  const answer = await client.send('tasks/get', { taskId: 'x' });
  assert.ok(answer.kind === 'error' && answer.error.code === -32_603);
  assert.match(answer.error.message, /^INTERNAL: internal error \(incident [0-9a-f]{8}\)/u);
});

test('a call with wait=false, and a short one, is not a task', async () => {
  const { contree, image, release } = gated();
  await using client = openTaskClient(contree, 'stdio', { ...SOON, inlineWaitMs: 350 });
  const at = async (name: string, args: Record<string, unknown>): Promise<string> =>
    (await result(client, 'tools/call', { name, arguments: args })).resultType;
  assert.equal(await at('run', { command: 'work', image, wait: false }), 'complete');
  assert.equal(await at('run', { command: 'echo', image }), 'complete');
  assert.equal(await at('list_images', {}), 'complete');
  const [{ uuid } = { uuid: '' }] = await contree.operations.list({ status: 'EXECUTING' });
  assert.equal(await at('wait_operations', { operation_ids: [uuid] }), 'complete');
  release();
});

test('the extension is declared to those who can use it, and where there is something to use it for', async () => {
  const declared = async (...[era, options]: [Parameters<typeof connectMcp>[1], object?]): Promise<boolean> => {
    await using mcp = await connectMcp(new ScriptedContree(), era, options);
    const { extensions = {} } = mcp.client.getServerCapabilities() ?? {};
    return 'io.modelcontextprotocol/tasks' in extensions;
  };
  assert.deepEqual(
    [await declared('modern'), await declared('legacy'), await declared('modern', { readOnly: true })],
    [true, false, false],
  );
});
