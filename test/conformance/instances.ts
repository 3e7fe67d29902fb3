import assert from 'node:assert/strict';
import type { ConTree } from '../../src/contract/contree.ts';
import type { OperationEvent } from '../../src/contract/event.ts';
import type { InstanceOpenRequest } from '../../src/contract/instance.ts';
import type { ExecSpec, InstanceResult } from '../../src/contract/run.ts';
import type { ContreeUnderTest } from './contree.ts';
import { faults, NOWHERE } from './faults.ts';

/** Opens an instance and waits until it is up. */
export async function opened(contree: ConTree, request: InstanceOpenRequest): Promise<string> {
  const { uuid } = await contree.instances.open(request);
  for await (const { type } of contree.operations.events(uuid, { follow: true })) if (type === 'init') break;
  return uuid;
}

/** Executes a command in an instance and waits for its end. */
export async function executed(
  contree: ConTree,
  uuid: string,
  spec: ExecSpec,
): Promise<InstanceResult & { readonly spid: number }> {
  const { spid } = await contree.processes.start(uuid, spec);
  for await (const { type } of contree.operations.events(uuid, { follow: true, spid })) if (type === 'exit') break;
  return { spid, ...(await contree.processes.get(uuid, spid)) };
}

/** Waits for the end of an operation and returns its last event. */
export async function completion(
  contree: ConTree,
  uuid: string,
): Promise<Extract<OperationEvent, { type: 'completion' }>> {
  const last = (await Array.fromAsync(contree.operations.events(uuid, { follow: true }))).at(-1);
  assert.ok(last?.type === 'completion');
  return last;
}

/** Opens an instance, uses it, and closes it with and without keeping its changes. */
export async function instances({ contree, base }: ContreeUnderTest): Promise<void> {
  const request = { image: base, env: { A: 'b' }, cwd: '/root', idle_timeout: 600, lifetime: 3_600, tag: 'kept:1' };
  const uuid = await opened(contree, request);
  const first = await executed(contree, uuid, { command: 'echo $A > file; pwd; cat file', shell: true });
  assert.deepEqual([first.spid, first.stdout?.value, first.state?.exit_code], [2, '/root\nb\n', 0]);
  const input = await contree.processes.start(uuid, { command: 'cat', stdin: { value: 'x', close: false } });
  const second = await executed(contree, uuid, { command: 'cat', args: ['file'], timeout: 30 });
  assert.equal(second.stdout?.value, 'b\n', 'what one command wrote, another reads while a third still runs');
  await contree.processes.write(uuid, input.spid, { value: 'y', close: false });
  const details = await contree.instances.get(uuid);
  assert.deepEqual(
    details.processes.map(({ spid, command, exit_code: code }) => [spid, command, code]),
    [
      [2, 'echo $A > file; pwd; cat file', 0],
      [3, 'cat', undefined],
      [4, 'cat file', 0],
    ],
  );
  assert.deepEqual(
    [details.image, details.status, details.disposable, details.idle_at],
    [base, 'EXECUTING', false, null],
  );
  assert.ok(Date.parse(details.ends_at ?? '') > Date.now());
  const [listed] = await contree.instances.list();
  assert.deepEqual([listed?.uuid, listed?.processes], [uuid, 1]);
  const shown = await contree.operations.get(uuid);
  assert.ok(
    'command' in shown.metadata && shown.metadata.command === '' && shown.metadata.instance?.lifetime === 3_600,
  );
  await contree.instances.close(uuid);
  const { status, result_image_uuid: image } = (await completion(contree, uuid)).data;
  assert.equal(status, 'SUCCESS');
  assert.equal((await contree.images.get('tag:kept:1')).uuid, image);
  assert.deepEqual((await contree.operations.get(uuid)).result, { image, tag: 'kept:1' });
  const lineage = await contree.images.lineage(image!);
  assert.deepEqual([lineage.root, lineage.image.parent_uuid, lineage.image.operation_uuid], [base, base, uuid]);
  assert.match(lineage.image.command ?? '', /^echo \$A > file; pwd; cat file; cat file/u);
  assert.equal((await contree.files.stat(image!, { path: '/root/file' })).size, 2);
  assert.deepEqual(await contree.instances.list(), []);
  const [ended] = await contree.instances.list({ all: true, limit: 1 });
  assert.deepEqual([ended?.uuid, ended?.status, ended?.last_snapshot, ended?.ends_at], [uuid, 'SUCCESS', image, null]);
  await assert.rejects(contree.instances.close(uuid), faults('INSTANCE_NOT_RUNNING'));
  await assert.rejects(contree.processes.start(uuid, { command: 'true' }), faults('INSTANCE_NOT_RUNNING'));
}

/** Ends of instances that keep nothing, and requests that are refused. */
export async function instanceEnds({ contree, base }: ContreeUnderTest): Promise<void> {
  const idle = await opened(contree, { image: base, idle_timeout: 1, lifetime: 60 });
  const dropped = await opened(contree, { image: base });
  await executed(contree, dropped, { command: 'echo x > /x', shell: true });
  await contree.instances.close(dropped, { keep: false });
  assert.deepEqual((await completion(contree, dropped)).data.result_image_uuid, null);
  const disposable = await opened(contree, { image: base, disposable: true });
  await contree.instances.close(disposable);
  assert.deepEqual((await completion(contree, disposable)).data.result_image_uuid, null);
  const unchanged = await opened(contree, { image: base });
  await contree.instances.close(unchanged, { tag: 'same' });
  assert.equal((await completion(contree, unchanged)).data.result_image_uuid, base, 'nothing was changed');
  assert.equal((await contree.images.get('tag:same')).uuid, base);
  const cancelled = await opened(contree, { image: base });
  await contree.operations.cancel(cancelled);
  assert.equal((await completion(contree, cancelled)).data.status, 'CANCELLED');
  const lost = await opened(contree, { image: base });
  const slow = await executed(contree, lost, { command: 'sleep', args: ['60'], timeout: 1 });
  assert.equal(slow.state?.timed_out, true);
  await contree.processes.start(lost, { command: 'crash' });
  assert.equal((await completion(contree, lost)).data.status, 'FAILED');
  assert.equal((await contree.operations.get(lost)).error_code, 'GUEST_LOST');
  const events = await Array.fromAsync(contree.operations.events(idle, { follow: true }));
  const ending = events.find(({ type }) => type === 'ending');
  assert.ok(ending?.type === 'ending' && ending.data.reason === 'idle');
  const shutdown = events.find(({ type }) => type === 'shutdown');
  assert.ok(shutdown?.type === 'shutdown' && shutdown.data.cause === 'idle');
  await assert.rejects(contree.instances.open({ image: NOWHERE }), faults('IMAGE_NOT_FOUND'));
  await assert.rejects(contree.instances.open({ image: base, tag: 'No Tag' }), faults('TAG_INVALID'));
  await assert.rejects(contree.instances.open({ image: base, cwd: 'x' }), faults('PATH_INVALID'));
  await assert.rejects(contree.instances.get(NOWHERE), faults('OPERATION_NOT_FOUND'));
  const { uuid: run } = await contree.runs.start({ command: 'true', image: base });
  await assert.rejects(contree.instances.get(run), faults('OPERATION_NOT_FOUND'));
  await assert.rejects(contree.instances.close(run), faults('OPERATION_NOT_FOUND'));
}

/** Snapshots of an instance that goes on: what they hold, their lineage, and what is kept of it however it ends. */
export async function snapshots({ contree, base }: ContreeUnderTest): Promise<void> {
  const uuid = await opened(contree, { image: base });
  const untouched = await contree.instances.snapshot(uuid);
  assert.deepEqual([untouched.image, untouched.changed], [base, false]);
  const server = await contree.processes.start(uuid, { command: 'cat', stdin: { value: '', close: false } });
  await executed(contree, uuid, { command: 'echo one > /one; echo x > /gone', shell: true });
  const first = await contree.instances.snapshot(uuid, { tag: 'first' });
  assert.deepEqual([first.changed, (await contree.images.get('tag:first')).uuid], [true, first.image]);
  await executed(contree, uuid, { command: 'echo two > /two; rm /gone', shell: true });
  const second = await contree.instances.snapshot(uuid);
  const again = await contree.instances.snapshot(uuid);
  assert.deepEqual(again, { ...second, changed: false, frozen_ms: again.frozen_ms });
  const { image, ancestors } = await contree.images.lineage(second.image);
  assert.deepEqual(
    [image.command, ...ancestors.map((one) => one.uuid)],
    ['echo two > /two; rm /gone', first.image, base],
  );
  const paths = async (to: string): Promise<string[]> =>
    (await contree.images.diff(base, { to })).entries.map(({ path }) => path).toSorted();
  assert.deepEqual(await paths(first.image), ['/gone', '/one']);
  assert.deepEqual(await paths(second.image), ['/one', '/two']);
  const details = await contree.instances.get(uuid);
  assert.deepEqual([details.snapshots, details.last_snapshot], [2, second.image]);
  assert.equal((await contree.operations.get(uuid)).result_image_uuid, second.image, 'already, while it goes on');
  await assert.rejects(contree.images.delete(second.image), faults('IMAGE_IN_USE'));
  await contree.processes.write(uuid, server.spid, { value: 'still here', close: true });
  for await (const { type } of contree.operations.events(uuid, { follow: true, spid: server.spid }))
    if (type === 'exit') break;
  assert.equal((await contree.processes.get(uuid, server.spid)).stdout?.value, 'still here', 'processes went on');
  await executed(contree, uuid, { command: 'echo three > /three', shell: true });
  await contree.operations.cancel(uuid);
  const end = (await completion(contree, uuid)).data;
  assert.deepEqual([end.status, end.result_image_uuid], ['CANCELLED', second.image], 'what was kept stays');
  assert.deepEqual(await paths(second.image), ['/one', '/two']);
  await assert.rejects(contree.instances.snapshot(uuid), faults('INSTANCE_NOT_RUNNING'));
  const kept = await opened(contree, { image: second.image, checkpoint: { commands: 1 } });
  await executed(contree, kept, { command: 'echo four > /four', shell: true });
  for await (const { type } of contree.operations.events(kept, { follow: true })) if (type === 'snapshot') break;
  await executed(contree, kept, { command: 'crash' });
  const lost = (await completion(contree, kept)).data;
  assert.equal(lost.status, 'FAILED');
  assert.deepEqual(await paths(lost.result_image_uuid!), ['/four', '/one', '/two']);
}
