import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { isFault } from '../../../src/contract/errors.ts';
import { limits } from '../../../src/contract/limits.ts';
import { Store } from '../../../src/store/store.ts';
import { completion, executed, opened } from '../../conformance/instances.ts';
import { faults } from '../../conformance/faults.ts';
import { FakeDriver } from '../../support/fake-sandbox/driver.ts';
import { aborted } from '../../../src/std/abort.ts';
import { until } from '../../support/time/until.ts';
import { openEngine, run, script, startEngine } from '../bench.ts';

/** Returns a step that waits for the test, which knows when it was reached. */
function gate(): { readonly reached: Promise<void>; readonly open: () => void; readonly pass: () => Promise<void> } {
  const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const pass = async (): Promise<void> => {
    reached.resolve();
    await released.promise;
  };
  return { reached: reached.promise, open: released.resolve, pass };
}

test('closing ends the commands that run and those that are about to, and keeps what they wrote', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const uuid = await opened(engine, { image: base.uuid });
  await executed(engine, uuid, { command: 'echo x > /x', shell: true });
  const { spid } = await engine.processes.start(uuid, { command: 'sleep', args: ['600'] });
  await engine.processes.start(uuid, { command: 'sleep', args: ['600'] });
  const late = engine.processes.start(uuid, { command: 'sleep', args: ['600'] }).catch((error: unknown) => error);
  await engine.instances.close(uuid);
  const { data } = await completion(engine, uuid);
  assert.equal(data.status, 'SUCCESS');
  assert.equal((await engine.processes.get(uuid, spid)).state?.signal, 9);
  const ended = await late;
  assert.ok(isFault(ended, 'INSTANCE_NOT_RUNNING') || !(ended instanceof Error));
  assert.equal((await engine.files.stat(data.result_image_uuid!, { path: '/x' })).size, 2);
  assert.equal(bench.driver.live, 0);
});

test('an instance that is being closed finishes its snapshot first; a second close may not ask for something else', async () => {
  const step = gate();
  await using bench = await openEngine({ hooks: { beforeSnapshot: step.pass } });
  const { engine, base } = bench;
  const uuid = await opened(engine, { image: base.uuid });
  await executed(engine, uuid, { command: 'echo x > /x', shell: true });
  const snapshot = engine.instances.snapshot(uuid);
  await step.reached;
  await engine.instances.close(uuid);
  await engine.instances.close(uuid, { keep: true });
  await assert.rejects(engine.instances.close(uuid, { keep: false }), faults('INSTANCE_NOT_RUNNING'));
  await assert.rejects(engine.instances.close(uuid, { tag: 'other' }), faults('INSTANCE_NOT_RUNNING'));
  await assert.rejects(engine.instances.snapshot(uuid), faults('INSTANCE_NOT_RUNNING'));
  step.open();
  const { image, changed } = await snapshot;
  assert.equal(changed, true);
  assert.equal((await completion(engine, uuid)).data.result_image_uuid, image, 'nothing was written after it');
});

test('snapshots that are asked for together are made one after another, each over the one before', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const uuid = await opened(engine, { image: base.uuid });
  await executed(engine, uuid, { command: 'echo x > /x', shell: true });
  const taken = await Promise.all([1, 2, 3].map(() => engine.instances.snapshot(uuid)));
  assert.deepEqual(
    taken.map(({ changed }) => changed),
    [true, false, false],
  );
  assert.equal(new Set(taken.map(({ image }) => image)).size, 1);
});

test('cancelled while it is opened, an instance leaves nothing; cancelled during a snapshot, it has none', async () => {
  const [boot, snapshot] = [gate(), gate()];
  await using bench = await openEngine({ hooks: { beforeBoot: boot.pass, beforeSnapshot: snapshot.pass } });
  const { engine, base } = bench;
  const early = await engine.instances.open({ image: base.uuid });
  await boot.reached;
  await engine.operations.cancel(early.uuid);
  boot.open();
  assert.equal((await completion(engine, early.uuid)).data.status, 'CANCELLED');
  const uuid = await opened(engine, { image: base.uuid });
  await executed(engine, uuid, { command: 'echo x > /x', shell: true });
  const taken = engine.instances.snapshot(uuid).catch((error: unknown) => error);
  await snapshot.reached;
  await engine.operations.cancel(uuid);
  snapshot.open();
  assert.ok(isFault(await taken, 'OPERATION_CANCELLED'));
  const { data } = await completion(engine, uuid);
  assert.deepEqual([data.status, data.result_image_uuid], ['CANCELLED', null]);
  await until(() => bench.driver.live === 0);
  assert.equal((await engine.images.list()).length, 1);
});

test('an engine that stops keeps the changes of all open instances, unless they are disposable', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const small = { image: base.uuid, resources_limits: { memory_mib: 128 } };
  const uuids = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const uuid = await opened(engine, { ...small, disposable: index === 0, tag: `kept-${index}` });
      await executed(engine, uuid, { command: `echo ${index} > /x`, shell: true });
      return uuid;
    }),
  );
  await engine.stop(0);
  for (const [index, uuid] of uuids.entries()) {
    const { status, error_code: code, result } = await engine.operations.get(uuid);
    assert.deepEqual([status, code, result?.tag], ['FAILED', 'ENGINE_STOPPED', index === 0 ? null : `kept-${index}`]);
    assert.equal(result?.image === null, index === 0);
  }
  assert.equal(bench.driver.live, 0);
  await assert.rejects(engine.instances.open(small), faults('ENGINE_UNAVAILABLE'));
});

test('an engine that stops does not wait forever for an instance whose changes never come', async () => {
  const reached = Promise.withResolvers<void>();
  const beforeChanges = async (signal: AbortSignal): Promise<void> => {
    reached.resolve();
    await aborted(signal);
  };
  await using bench = await openEngine({ hooks: { beforeChanges } });
  const uuid = await opened(bench.engine, { image: bench.base.uuid });
  const stopped = bench.engine.stop(0);
  await reached.promise;
  // Asked again, it does not wait any longer.
  await bench.engine.stop(0);
  assert.equal((await bench.engine.operations.get(uuid)).error_code, 'ENGINE_STOPPED');
  await stopped;
});

test('gc leaves the layers of an open instance and takes what others have used since', async () => {
  await using bench = await openEngine();
  const { engine, base, store } = bench;
  const file = await engine.uploads.create(
    (async function* () {
      yield Buffer.from('injected');
    })(),
  );
  const uuid = await opened(engine, { image: base.uuid, files: { '/srv/f': { uuid: file.uuid } } });
  const loose = await run(engine, script(bench, 'echo loose > /loose'));
  await engine.images.delete(loose.result_image_uuid!);
  const before = store.layers.usage().count;
  await engine.system.gc({ older_than_days: 0 });
  assert.equal(store.layers.usage().count, before - 1, 'the layer of the deleted image, not the injected one');
  await executed(engine, uuid, { command: 'echo x > /x', shell: true });
  const { image } = await engine.instances.snapshot(uuid);
  await engine.system.gc({ older_than_days: 0, max_bytes: 0 });
  await engine.instances.close(uuid);
  assert.equal((await completion(engine, uuid)).data.result_image_uuid, image);
  assert.equal((await engine.files.stat(image, { path: '/srv/f' })).size, 8);
  const { checks } = await engine.system.doctor({ verify: true });
  assert.ok(checks.every(({ status }) => status !== 'failed'));
});

test('a long line of snapshots stays short, and each holds all that came before', async () => {
  await using bench = await openEngine();
  const { engine, base, store } = bench;
  const uuid = await opened(engine, { image: base.uuid });
  const count = limits.layersMountedMax + 6;
  let image = '';
  for (let index = 0; index < count; index += 1) {
    await executed(engine, uuid, { command: `echo ${index} > /f${index}`, shell: true });
    ({ image } = await engine.instances.snapshot(uuid));
  }
  assert.ok(store.images.get(image).layers.length <= limits.layersMountedMax);
  const { files } = await engine.files.list(image, { path: '/' });
  assert.equal(files.filter(({ path }) => /^f\d+$/u.test(path)).length, count);
  assert.equal((await engine.images.lineage(image)).ancestors.length, count);
});

test('instances are bounded in number per token and project, in memory, and in life by the token', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const limited = engine.forTenant({
    project: 'default',
    token: 'token',
    limits: { instances_max_open: 1, instance_max_lifetime: 100 },
  });
  const open = { image: base.uuid, resources_limits: { memory_mib: 128 } };
  const uuid = await opened(limited, open);
  const { metadata } = await engine.operations.get(uuid);
  assert.ok('instance' in metadata && metadata.instance?.lifetime === 100 && metadata.instance.idle_timeout === 100);
  await assert.rejects(limited.instances.open(open), faults('INSTANCE_LIMIT'));
  await assert.rejects(limited.instances.open({ ...open, lifetime: 101 }), faults('ARGUMENT_INVALID'));
  await limited.runs.start({ command: 'true', image: base.uuid });
  const greedy = { image: base.uuid, resources_limits: { memory_mib: limits.guestMemoryMibMax } };
  const memory = async (): Promise<void> => {
    for (let index = 0; index < limits.instancesPerProjectMax; index += 1) await engine.instances.open(greedy);
  };
  await assert.rejects(memory(), (error) => isFault(error, 'INSTANCE_MEMORY', 'INSTANCE_LIMIT', 'ARGUMENT_INVALID'));
  await run(engine, script(bench, 'true'));
});

test('many commands are remembered and listed up to a bound', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const uuid = await opened(engine, { image: base.uuid });
  for (let index = 0; index < limits.instanceProcessesListed + 5; index += 1) {
    await engine.processes.start(uuid, { command: 'true' });
    if (index % 30 === 0)
      await until(async () => (await engine.instances.get(uuid)).processes.every((one) => one.exit_code === 0));
  }
  await until(async () => (await engine.instances.list())[0]?.processes === 0);
  const { processes } = await engine.instances.get(uuid);
  assert.equal(processes.length, limits.instanceProcessesListed);
  assert.equal(processes.at(-1)?.spid, limits.instanceProcessesListed + 6);
  await assert.rejects(engine.processes.kill(uuid, 2), /process 2 .* has ended/u);
});

const VICTIM = `
  import { openEngine } from ${JSON.stringify(new URL('../bench.ts', import.meta.url).href)};
  import { executed, opened } from ${JSON.stringify(new URL('../../conformance/instances.ts', import.meta.url).href)};
  const { engine, base, directory } = await openEngine();
  const uuid = await opened(engine, { image: base.uuid });
  await executed(engine, uuid, { command: 'echo kept > /kept', shell: true });
  const { image } = await engine.instances.snapshot(uuid);
  await executed(engine, uuid, { command: 'echo lost > /lost', shell: true });
  process.stdout.write(JSON.stringify({ directory, uuid, image }) + '\\n');
  await new Promise(() => setInterval(() => {}, 1_000));`;

test('after kill -9 of the engine, the last snapshot of an open instance is its result', async () => {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', VICTIM], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  for await (const chunk of child.stdout) {
    said += String(chunk);
    if (said.includes('\n')) break;
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
  const { directory, uuid, image } = JSON.parse(said) as { directory: string; uuid: string; image: string };
  try {
    await using store = await Store.open(directory);
    await using driver = new FakeDriver();
    await using engine = startEngine(store, driver);
    const { status, error_code: code, result_image_uuid: result } = await engine.operations.get(uuid);
    assert.deepEqual([status, code, result], ['FAILED', 'ENGINE_STOPPED', image]);
    assert.equal((await completion(engine, uuid)).data.result_image_uuid, image);
    const [ended] = await engine.instances.list({ all: true });
    assert.deepEqual([ended?.snapshots, ended?.last_snapshot, ended?.processes], [1, image, 0]);
    const { files } = await engine.files.list(image, { path: '/' });
    assert.deepEqual(
      files.map(({ path }) => path).filter((path) => path === 'kept' || path === 'lost'),
      ['kept'],
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});
