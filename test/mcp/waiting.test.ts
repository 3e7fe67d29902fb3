import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { test } from 'node:test';
import type { Progress } from '@modelcontextprotocol/client';
import { fault } from '../../src/contract/errors.ts';
import { connectMcp, ERAS } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';
import { until } from '../support/time/until.ts';

/** A program that writes a line and then runs until it is signalled or released. */
function gate(): { release: () => void; started: Promise<void>; contree: ScriptedContree } {
  const released = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const contree = new ScriptedContree({
    work: async ({ out, signalled }) => {
      out('first\nstep 2 of 3\n');
      started.resolve();
      const signal = await Promise.race([released.promise.then(() => undefined), signalled]);
      if (signal !== undefined) return -1;
      out('done\n');
      return 0;
    },
  });
  return { release: released.resolve, started: started.promise, contree };
}

for (const era of ERAS) {
  test(`${era}: progress comes at once with the operation's id, then with the last line of output`, async () => {
    const { release, contree } = gate();
    const image = contree.addImage();
    await using mcp = await connectMcp(contree, era);
    const steps: Progress[] = [];
    const answer = mcp.call('run', { command: 'work', image, timeout: 60 }, { onprogress: (step) => steps.push(step) });
    await until(() => steps.length >= 2);
    release();
    const { structured } = await answer;
    assert.equal(steps[0]?.message, `PENDING · operation ${structured.operation_id}`);
    assert.equal(steps[1]?.message, 'EXECUTING · step 2 of 3');
    assert.equal(steps[0]?.total, 60);
    for (const [index, step] of steps.entries())
      if (index > 0) assert.ok(step.progress > (steps[index - 1]?.progress ?? 0));
    const count = steps.length;
    // Only time can show that nothing comes; a late notification would have arrived by then.
    await delay(50);
    assert.equal(steps.length, count, 'nothing follows the result');
  });

  test(`${era}: without progress a call answers early with the id to wait on`, async () => {
    const { release, contree } = gate();
    const image = contree.addImage();
    await using mcp = await connectMcp(contree, era, { inlineWaitMs: 50 });
    const early = await mcp.call('run', { command: 'work', image });
    assert.equal(early.isError, false);
    assert.equal(early.structured.status, 'EXECUTING');
    assert.equal(early.structured.hint, `wait_operations(operation_ids=["${early.structured.operation_id}"])`);
    release();
    const { structured } = await mcp.call('wait_operations', { operation_ids: [early.structured.operation_id] });
    assert.equal(structured.results[early.structured.operation_id].exit_code, 0);
  });

  test(`${era}: a user's cancel stops the operation`, async () => {
    const { started, contree } = gate();
    const image = contree.addImage();
    await using mcp = await connectMcp(contree, era);
    const abort = new AbortController();
    const call = mcp.call('run', { command: 'work', image }, { signal: abort.signal });
    await started;
    abort.abort('user pressed Esc');
    await assert.rejects(call);
    await until(async () => (await contree.operations.list({}))[0]?.status === 'CANCELLED');
  });

  test(`${era}: a client's own timeout does not`, async () => {
    const { release, started, contree } = gate();
    const image = contree.addImage();
    await using mcp = await connectMcp(contree, era);
    const call = mcp.call('run', { command: 'work', image }, { timeout: 200 });
    await started;
    await assert.rejects(call, /timed out/iu);
    await until(() => mcp.logged.some((line) => /^operation [0-9a-f-]{36} goes on/u.test(line)));
    assert.equal((await contree.operations.list({}))[0]?.status, 'EXECUTING');
    release();
    await until(async () => (await contree.operations.list({}))[0]?.status === 'SUCCESS');
  });

  test(`${era}: nor does the end of the connection`, async () => {
    const { started, contree } = gate();
    const image = contree.addImage();
    const mcp = await connectMcp(contree, era);
    const call = mcp.call('run', { command: 'work', image });
    await started;
    const [operation] = await contree.operations.list({});
    await mcp.client.close();
    await assert.rejects(call);
    await until(() => mcp.logged.some((line) => line.includes(operation?.uuid ?? '?')));
    assert.equal((await contree.operations.get(operation?.uuid ?? '')).status, 'EXECUTING');
    await mcp[Symbol.asyncDispose]();
  });

  test(`${era}: cancelling a wait never cancels what is waited for`, async () => {
    const { release, contree } = gate();
    const image = contree.addImage();
    await using mcp = await connectMcp(contree, era);
    const { structured } = await mcp.call('run', { command: 'work', image, wait: false });
    const abort = new AbortController();
    const wait = mcp.call('wait_operations', { operation_ids: [structured.operation_id] }, { signal: abort.signal });
    abort.abort('user pressed Esc');
    await assert.rejects(wait);
    assert.equal((await contree.operations.get(structured.operation_id)).status, 'EXECUTING');
    release();
  });
}

test('wait_operations: any_success names the winner and how to stop the others', async () => {
  const { contree } = gate();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  const start = async (command: string): Promise<string> =>
    (await mcp.call('run', { command, image, wait: false })).structured.operation_id;
  const [loser, failing, winning] = [await start('work'), await start('false'), await start('true')];
  const { structured } = await mcp.call('wait_operations', {
    operation_ids: [loser, failing, winning],
    mode: 'any_success',
  });
  assert.equal(structured.winner, winning);
  assert.deepEqual(structured.pending.includes(loser), true);
  assert.equal(structured.timed_out, undefined);
  assert.match(structured.hint, new RegExp(`^cancel_operation\\(operation_ids=.*${loser}`, 'u'));
  const cancelled = await mcp.call('cancel_operation', { operation_ids: [loser, winning] });
  assert.deepEqual(cancelled.structured.operations, [
    { operation_id: loser, cancelled: true, status: 'CANCELLED' },
    { operation_id: winning, cancelled: false, status: 'SUCCESS' },
  ]);
});

test('wait_operations: any is satisfied by a failure too, all by nothing less than all; neither stops anything', async () => {
  const { release, contree } = gate();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  const start = async (command: string): Promise<string> =>
    (await mcp.call('run', { command, image, wait: false })).structured.operation_id;
  const [long, failing] = [await start('work'), await start('false')];
  const ids = [long, failing];
  const { structured: any } = await mcp.call('wait_operations', { operation_ids: ids, mode: 'any' });
  assert.deepEqual(
    [any.winner, Object.keys(any.results), any.pending, any.timed_out],
    [failing, [failing], [long], undefined],
  );
  assert.equal(any.results[failing].exit_code, 1);
  assert.equal((await contree.operations.get(long)).status, 'EXECUTING');
  assert.equal(any.hint, `cancel_operation(operation_ids=["${long}"]) stops the others.`);
  const all = mcp.call('wait_operations', { operation_ids: ids });
  release();
  const { structured } = await all;
  assert.deepEqual([structured.pending, structured.timed_out, structured.winner], [undefined, undefined, undefined]);
  assert.deepEqual(Object.keys(structured.results).toSorted(), ids.toSorted());
  assert.equal(structured.results[long].stdout, 'first\nstep 2 of 3\ndone\n');
});

test('wait_operations: when nobody succeeds any_success ends with the last, and no winner', async () => {
  const { contree } = gate();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  const ids: string[] = [];
  for (let index = 0; index < 3; index += 1) {
    ids.push((await mcp.call('run', { command: 'false', image, wait: false })).structured.operation_id);
  }
  const { structured } = await mcp.call('wait_operations', { operation_ids: ids, mode: 'any_success' });
  assert.deepEqual([structured.winner, structured.pending, structured.timed_out], [undefined, undefined, undefined]);
  assert.equal(Object.keys(structured.results).length, 3);
});

test('wait_operations: a wait that is over says so and keeps what is pending', async () => {
  const { release, contree } = gate();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree, 'modern', { inlineWaitMs: 50 });
  const { structured: run } = await mcp.call('run', { command: 'work', image, wait: false });
  const { structured } = await mcp.call('wait_operations', { operation_ids: [run.operation_id] });
  assert.equal(structured.timed_out, true);
  assert.deepEqual(structured.pending, [run.operation_id]);
  assert.equal(structured.hint, `wait_operations(operation_ids=["${run.operation_id}"])`);
  release();
});

test('wait_operations: an id that does not exist is told at once', async () => {
  const { contree, release } = gate();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  const { structured } = await mcp.call('run', { command: 'work', image, wait: false });
  const answer = await mcp.call('wait_operations', { operation_ids: [structured.operation_id, 'nope'] });
  assert.match(answer.text, /^OPERATION_NOT_FOUND: no operation nope\nCall list_operations/u);
  release();
});

test('run follows by asking where a server has no events', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  contree.operations.events = () => {
    throw fault('ROUTE_NOT_FOUND', { route: 'events' });
  };
  await using mcp = await connectMcp(contree);
  const { structured } = await mcp.call('run', { command: 'echo hi', image });
  assert.equal(structured.stdout, 'hi\n');
});
