import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { FakeDriver } from '../support/fake-sandbox/driver.ts';
import { Store } from '../../src/store/store.ts';
import { scratch } from '../store/bench.ts';
import {
  collectEvents,
  finished,
  followed,
  openEngine,
  resultOf,
  run,
  script,
  seen,
  startEngine,
  stdoutOf,
} from './bench.ts';
import { LoopWatch } from '../support/time/stopwatch.ts';

/** A gate at which boots wait until it is opened. */
function gate(): {
  readonly wait: (signal: AbortSignal) => Promise<void>;
  readonly open: () => void;
  readonly waiting: () => number;
} {
  const { promise, resolve } = Promise.withResolvers<void>();
  let waiting = 0;
  const wait = async (signal: AbortSignal): Promise<void> => {
    waiting += 1;
    await new Promise<void>((pass, stop) => {
      signal.addEventListener('abort', () => stop(signal.reason as Error), { once: true });
      void promise.then(pass);
    });
  };
  return { wait, open: resolve, waiting: () => waiting };
}

test('a run is logged from init to completion, whatever it does', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const { uuid } = await engine.runs.start(script(bench, 'echo out; echo err >&2', { env: { API_TOKEN: 'canary' } }));
  const live = await followed(engine, uuid);
  assert.deepEqual(
    live.map(({ id, type, spid }) => [id, type, spid]),
    [
      [0, 'init', 0],
      [1, 'spawn', 1],
      [2, 'stdout', 1],
      [3, 'stderr', 1],
      [4, 'exit', 1],
      [5, 'network', 0],
      [6, 'shutdown', 0],
      [7, 'completion', undefined],
    ],
  );
  assert.deepEqual(await collectEvents(engine.operations.events(uuid, {})), live, 'replay equals following');
  assert.deepEqual(await collectEvents(engine.operations.events(uuid, { since: 3 })), live.slice(4));
  assert.deepEqual(
    (await collectEvents(engine.operations.events(uuid, { spid: 1, follow: true }))).map(({ type }) => type),
    ['spawn', 'stdout', 'stderr', 'exit'],
  );
  for (const { ts } of live) assert.match(ts, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/u);
  const spawn = live.find((event) => event.type === 'spawn');
  assert.deepEqual([spawn?.data.command, spawn?.data.args], ['/bin/sh', ['-c', 'echo out; echo err >&2']]);
  assert.equal(spawn?.data.env?.['API_TOKEN'], '<MASKED>');
  const completion = live.at(-1);
  assert.ok(completion?.type === 'completion');
  assert.deepEqual([completion.data.status, completion.data.error], ['SUCCESS', null]);
});

test('an operation can be cancelled in every state and makes no image', async () => {
  const door = gate();
  const changes = gate();
  await using bench = await openEngine({
    concurrency: 1,
    hooks: {
      beforeBoot: (spec, signal) => (spec.hostname === 'booting' ? door.wait(signal) : Promise.resolve()),
      beforeChanges: changes.wait,
    },
  });
  const { engine, store } = bench;
  const ended = async (uuid: string): Promise<void> => {
    using watch = new LoopWatch();
    await engine.operations.cancel(uuid);
    const operation = await finished(engine, uuid);
    assert.equal(operation.status, 'CANCELLED');
    assert.equal(operation.error_code, 'OPERATION_CANCELLED');
    assert.equal(operation.result_image_uuid, null);
    assert.ok(watch.ms < 2_000);
    const last = (await followed(engine, uuid)).at(-1);
    assert.ok(last?.type === 'completion' && last.data.status === 'CANCELLED');
    await assert.rejects(engine.operations.cancel(uuid), (error) => isFault(error, 'OPERATION_FINISHED'));
  };
  const executing = await engine.runs.start(script(bench, 'echo x > /x; echo ready; sleep 60'));
  await seen(engine, executing.uuid, ({ type }) => type === 'stdout');
  const pending = await engine.runs.start(script(bench, 'true'));
  assert.equal((await engine.operations.get(pending.uuid)).status, 'PENDING');
  await ended(pending.uuid);
  await ended(executing.uuid);
  const booting = await engine.runs.start(script(bench, 'true', { hostname: 'booting' }));
  while (door.waiting() === 0) await new Promise(setImmediate);
  assert.equal((await engine.operations.get(booting.uuid)).status, 'ASSIGNED');
  await ended(booting.uuid);
  const committing = await engine.runs.start(script(bench, 'echo x > /x'));
  while (changes.waiting() === 0) await new Promise(setImmediate);
  await ended(committing.uuid);
  assert.equal(store.images.count(), 1);
  assert.equal(engine.activeCount, 0);
  assert.equal(bench.driver.live, 0);
  await assert.rejects(engine.operations.cancel('00000000-0000-4000-8000-000000000000'), {
    code: 'OPERATION_NOT_FOUND',
  });
});

test('a sandbox that does not go away does not hold up its cancellation', async () => {
  const { promise: never } = Promise.withResolvers<void>();
  const stuck = Promise.withResolvers<void>();
  await using bench = await openEngine({
    hooks: {
      beforeBoot: async () => {
        stuck.resolve();
        await Promise.race([never, release.promise]);
      },
    },
  });
  const release = Promise.withResolvers<void>();
  const { uuid } = await bench.engine.runs.start(script(bench, 'true'));
  await stuck.promise;
  await bench.engine.operations.cancel(uuid);
  using watch = new LoopWatch();
  assert.equal((await finished(bench.engine, uuid)).status, 'CANCELLED');
  assert.ok(watch.ms < 2_000);
  release.resolve();
});

test('runs start in the order they were asked for, as many as there is room for', async () => {
  const order: string[] = [];
  let most = 0;
  await using bench = await openEngine({
    concurrency: 3,
    hooks: {
      beforeBoot: async (spec) => {
        order.push(spec.hostname);
        most = Math.max(most, bench.driver.live + 1);
      },
    },
  });
  const { engine } = bench;
  const names = Array.from({ length: 200 }, (_, index) => `run-${index}`);
  const started = await Promise.all(
    names.map((hostname) => engine.runs.start(script(bench, 'true', { hostname, disposable: true }))),
  );
  const stat = await engine.system.whoami();
  assert.equal(
    Object.values(stat.operations_stat).reduce((sum, count) => sum + count, 0),
    200,
  );
  assert.ok((stat.operations_stat['PENDING'] ?? 0) >= 190, 'the queue can be seen');
  await Promise.all(started.map(({ uuid }) => finished(engine, uuid)));
  // Runs that were admitted together may overtake each other on the way to their boot.
  for (const [at, name] of order.entries())
    assert.ok(Math.abs(names.indexOf(name) - at) < 3, `${name} was number ${at}`);
  assert.ok(most <= 3, String(most));
  assert.deepEqual((await engine.system.whoami()).operations_stat, { SUCCESS: 200 });
  assert.equal((await engine.operations.list({ limit: 1_000 })).length, 200);
  assert.equal((await engine.operations.list({ status: 'FAILED' })).length, 0);
});

test('memory bounds what runs at once', async () => {
  let most = 0;
  await using bench = await openEngine({
    hooks: {
      beforeBoot: async () => {
        most = Math.max(most, bench.driver.live + 1);
      },
    },
  });
  const big = { resources_limits: { memory_mib: Math.min(16_384, Math.floor(totalmem() / 1024 ** 2)), cpus: 1 } };
  const runs = Array.from({ length: 6 }, () => run(bench.engine, script(bench, 'true', { ...big, disposable: true })));
  for (const { status } of await Promise.all(runs)) assert.equal(status, 'SUCCESS');
  assert.ok(most * 16_384 <= Math.max(16_384, totalmem() / 1024 ** 2), `${most} at once`);
});

test('50 branches of one image write the same path: 50 results, the parent untouched', async () => {
  await using bench = await openEngine();
  const { engine, base, store } = bench;
  const before = await store.layers.file(base.layers[0]!);
  const count = 50;
  const runs = await Promise.all(
    Array.from({ length: count }, (_, index) => run(engine, script(bench, `echo ${index} > /root/winner`))),
  );
  const contents = await Promise.all(
    runs.map(async ({ result_image_uuid: image }) => {
      const { body } = await engine.files.read(image!, { path: '/root/winner' });
      return Buffer.concat(await Array.fromAsync(body)).toString();
    }),
  );
  assert.deepEqual(
    contents,
    Array.from({ length: count }, (_, index) => `${index}\n`),
  );
  assert.equal(new Set(runs.map(({ result_image_uuid: image }) => image)).size, count);
  await assert.rejects(engine.files.stat(base.uuid, { path: '/root/winner' }), { code: 'FILE_NOT_FOUND' });
  assert.deepEqual(await store.layers.file(base.layers[0]!), before);
  assert.equal((await engine.images.lineage(base.uuid)).children.length, count);
  const { checks } = await engine.system.doctor({ verify: true });
  assert.deepEqual(
    checks.filter(({ status }) => status === 'failed'),
    [],
  );
});

test('the image of a run is fixed when it is accepted, wherever its tag moves', async () => {
  await using bench = await openEngine({ concurrency: 1 });
  const { engine, base } = bench;
  const other = await run(engine, script(bench, 'echo x > /x'));
  await engine.tags.set(base.uuid, { tag: 'work' });
  const first = await engine.runs.start(script(bench, 'sleep 60', { disposable: true }));
  const queued = await engine.runs.start(script(bench, 'true', { image: 'tag:work' }));
  await engine.tags.set(other.result_image_uuid!, { tag: 'work' });
  await engine.operations.cancel(first.uuid);
  const operation = await finished(engine, queued.uuid);
  assert.equal(operation.image_uuid, base.uuid);
  assert.equal(operation.result_image_uuid, base.uuid);
});

test('an image in use cannot be deleted', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const { uuid } = await engine.runs.start(script(bench, 'sleep 60', { disposable: true }));
  await assert.rejects(
    engine.images.delete(base.uuid),
    (error) => isFault(error, 'IMAGE_IN_USE') && error.message.includes(uuid),
  );
  await engine.operations.cancel(uuid);
  await finished(engine, uuid);
  assert.deepEqual(await engine.images.delete(base.uuid), [base.uuid]);
  assert.equal((await engine.operations.get(uuid)).image_uuid, base.uuid, 'the record of the run stays');
});

test('an image with several tags is not deleted by one of them', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  for (const tag of ['one', 'two', 'three', 'four', 'five']) await engine.tags.set(base.uuid, { tag });
  await assert.rejects(
    engine.images.delete('tag:two'),
    (error) => isFault(error, 'IMAGE_IN_USE') && error.message.endsWith('its other tags five, four, three, …'),
  );
  assert.equal((await engine.images.get(base.uuid)).tags?.length, 5);
  for (const tag of ['three', 'four', 'five']) await engine.tags.remove(base.uuid, { tag });
  await assert.rejects(engine.images.delete('tag:two'), /its other tag one$/u);
  await engine.tags.remove(base.uuid, { tag: 'one' });
  assert.deepEqual(await engine.images.delete('tag:two'), [base.uuid], 'by its only tag');
});

test('processes beside the main one have their own output and ends, and end with it', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const { uuid } = await engine.runs.start(
    script(bench, 'echo up; cat', { stdin: { value: '', close: false }, disposable: true }),
  );
  await assert.rejects(engine.processes.get(uuid, 2), { code: 'SUBPROCESS_NOT_FOUND' });
  await seen(engine, uuid, ({ type }) => type === 'stdout');
  const echo = await engine.processes.start(uuid, { command: 'echo marker', shell: true });
  assert.equal(echo.spid, 2);
  await seen(engine, uuid, ({ type, spid }) => type === 'exit' && spid === 2);
  const done = await engine.processes.get(uuid, 2);
  assert.deepEqual([done.stdout?.value, done.state?.exit_code], ['marker\n', 0]);
  const cat = await engine.processes.start(uuid, { command: 'cat', stdin: { value: '', close: false } });
  assert.equal((await engine.processes.get(uuid, cat.spid)).state?.exit_code, -1);
  await engine.processes.write(uuid, cat.spid, { value: 'first ', close: false });
  await engine.processes.write(uuid, cat.spid, { value: Buffer.from('second').toString('base64'), encoding: 'base64' });
  await seen(engine, uuid, ({ type, spid }) => type === 'exit' && spid === cat.spid);
  assert.equal((await engine.processes.get(uuid, cat.spid)).stdout?.value, 'first second');
  const sleep = await engine.processes.start(uuid, { command: 'sleep 60', shell: true });
  await engine.processes.kill(uuid, sleep.spid, { signal: 'KILL' });
  await seen(engine, uuid, ({ type, spid }) => type === 'exit' && spid === sleep.spid);
  assert.equal((await engine.processes.get(uuid, sleep.spid)).state?.signal, 9);
  const left = await engine.processes.start(uuid, { command: 'sleep', args: ['60'] });
  await engine.processes.write(uuid, 1, { value: 'bye', close: true });
  const operation = await finished(engine, uuid);
  assert.equal(operation.status, 'SUCCESS');
  assert.equal(stdoutOf(operation), 'up\nbye');
  assert.equal((await engine.processes.get(uuid, left.spid)).state?.signal, 9);
  const types = (await followed(engine, uuid)).map(({ type }) => type);
  assert.ok(types.lastIndexOf('exit') < types.indexOf('shutdown'));
  await assert.rejects(engine.processes.start(uuid, { command: 'true' }), { code: 'INSTANCE_NOT_RUNNING' });
  await assert.rejects(engine.processes.kill(uuid, 1), { code: 'INSTANCE_NOT_RUNNING' });
});

test('an instance in the queue is refused at once, one that boots is waited for', async () => {
  const door = gate();
  await using bench = await openEngine({ concurrency: 1, hooks: { beforeBoot: (_, signal) => door.wait(signal) } });
  const { engine } = bench;
  const { uuid } = await engine.runs.start(script(bench, 'cat', { stdin: { value: '', close: false } }));
  const queued = await engine.runs.start(script(bench, 'true', { disposable: true }));
  assert.equal((await engine.operations.get(queued.uuid)).status, 'PENDING');
  await assert.rejects(engine.processes.start(queued.uuid, { command: 'true' }), {
    code: 'INSTANCE_NOT_READY',
    httpStatus: 425,
  });
  assert.equal((await engine.operations.get(uuid)).status, 'ASSIGNED');
  const early = engine.processes.start(uuid, { command: 'true' });
  door.open();
  assert.deepEqual(await early, { spid: 2 }, 'one that boots is waited for');
  await engine.processes.write(uuid, 1, { value: '', close: true });
  await finished(engine, uuid);
  await assert.rejects(engine.processes.kill(uuid, 1, { signal: 'NONSENSE' }), { code: 'ARGUMENT_INVALID' });
});

test('a killed engine leaves operations that the next one ends, and a whole store', async () => {
  await using bench = await openEngine({ concurrency: 1 });
  const { engine } = bench;
  const executing = await engine.runs.start(script(bench, 'echo partial; sleep 60'));
  const pending = await engine.runs.start(script(bench, 'true'));
  await seen(engine, executing.uuid, ({ type }) => type === 'stdout');
  // The disk at this instant is what a killed engine would have left.
  await using left = await scratch();
  await cp(bench.directory, left.path, { recursive: true });
  await using store = await Store.open(left.path);
  await using next = startEngine(store, new FakeDriver());
  for (const { uuid } of [executing, pending]) {
    const operation = await next.operations.get(uuid);
    assert.deepEqual([operation.status, operation.error_code], ['FAILED', 'ENGINE_STOPPED']);
    const events = await collectEvents(next.operations.events(uuid, { follow: true }));
    assert.equal(events.at(-1)?.type, 'completion');
  }
  assert.equal(stdoutOf(await next.operations.get(executing.uuid)), 'partial\n', 'what it had put out is kept');
  assert.equal((await run(next, script(bench, 'true'))).status, 'SUCCESS');
});

test('stop() lets runs finish within the grace, then says why it ended them', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const quick = await engine.runs.start(script(bench, 'echo x > /x'));
  const endless = await engine.runs.start(script(bench, 'sleep 60'));
  await seen(engine, endless.uuid, ({ type }) => type === 'spawn');
  await engine.stop(300);
  assert.equal((await engine.operations.get(quick.uuid)).status, 'SUCCESS');
  const ended = await engine.operations.get(endless.uuid);
  assert.deepEqual([ended.status, ended.error_code], ['FAILED', 'ENGINE_STOPPED']);
  await assert.rejects(engine.runs.start(script(bench, 'true')), { code: 'ENGINE_UNAVAILABLE' });
  assert.equal(bench.driver.live, 0);
});

test('a process that is given up after its timeout does not hold the run', async () => {
  await using bench = await openEngine();
  const operation = await run(bench.engine, script(bench, "trap '' TERM; sleep 60", { timeout: 1, disposable: true }));
  assert.equal(resultOf(operation).state?.timed_out, true);
});
