import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { finished, followed, openEngine, resultOf, run, script, seen, stdoutOf } from './bench.ts';

/** Behaviour that clients of the hosted service rely on, by its description in `contree_client/spec_info.py`. */

test('every part of a result is there while an operation waits and runs', async () => {
  const door = Promise.withResolvers<void>();
  await using bench = await openEngine({ hooks: { beforeBoot: async () => door.promise } });
  const { engine } = bench;
  const { uuid } = await engine.runs.start(script(bench, 'cat', { stdin: { value: '', close: false } }));
  const waiting = resultOf(await engine.operations.get(uuid));
  assert.deepEqual([waiting.state?.exit_code, waiting.state?.pid, waiting.resources?.max_rss], [-1, -1, -1]);
  assert.ok(Object.values(waiting.resources ?? {}).every((amount) => amount === -1));
  assert.partialDeepStrictEqual([waiting.stdout, waiting.stderr], [{ value: '' }, { value: '' }]);
  door.resolve();
  await seen(engine, uuid, ({ type }) => type === 'spawn');
  const running = await engine.processes.get(uuid, 1);
  assert.equal(running.state?.exit_code, -1);
  assert.ok((running.state?.pid ?? 0) > 0);
  assert.ok(Object.values(running.resources ?? {}).every((amount) => amount === -1));
  await engine.processes.write(uuid, 1, { value: '', close: true });
  assert.equal(resultOf(await finished(engine, uuid)).state?.exit_code, 0);
});

test('input that nobody would read is refused: never opened, closed, of a process or an instance that has ended', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const { uuid } = await engine.runs.start(script(bench, 'cat', { stdin: { value: '', close: false } }));
  await seen(engine, uuid, ({ type }) => type === 'spawn');
  const deaf = await engine.processes.start(uuid, { command: 'sleep', args: ['60'] });
  const closed = { code: 'STDIN_CLOSED', httpStatus: 409 };
  await assert.rejects(engine.processes.write(uuid, deaf.spid, { value: 'x', close: false }), closed);
  const once = await engine.processes.start(uuid, {
    command: 'sleep',
    args: ['60'],
    stdin: { value: '', close: false },
  });
  await engine.processes.write(uuid, once.spid, { value: 'all of it' });
  await assert.rejects(engine.processes.write(uuid, once.spid, { value: 'more' }), closed);
  await engine.processes.kill(uuid, once.spid);
  await seen(engine, uuid, ({ type, spid }) => type === 'exit' && spid === once.spid);
  const gone = { code: 'SUBPROCESS_NOT_FOUND', httpStatus: 404, message: /has ended/u };
  await assert.rejects(engine.processes.write(uuid, once.spid, { value: 'x' }), gone);
  await assert.rejects(engine.processes.kill(uuid, once.spid), gone);
  await engine.processes.write(uuid, 1, { value: '', close: true });
  await finished(engine, uuid);
  const over = { code: 'INSTANCE_FINISHED', httpStatus: 410 };
  await assert.rejects(engine.processes.write(uuid, 1, { value: 'x' }), over);
});

test('a kill without a signal is SIGKILL', async () => {
  await using bench = await openEngine();
  const { uuid } = await bench.engine.runs.start(script(bench, 'sleep 60'));
  await seen(bench.engine, uuid, ({ type }) => type === 'spawn');
  await bench.engine.processes.kill(uuid, 1);
  assert.equal(resultOf(await finished(bench.engine, uuid)).state?.signal, 9);
});

test('the log says why an instance went away, and its end belongs to no process', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const ends = async (command: string, timeout: number, signal?: string): Promise<unknown> => {
    const { uuid } = await engine.runs.start(script(bench, command, { timeout, disposable: true }));
    if (signal !== undefined) {
      await seen(engine, uuid, ({ type }) => type === 'spawn');
      await engine.processes.kill(uuid, 1, { signal });
    }
    const events = await followed(engine, uuid);
    assert.equal(events.at(-1)?.type, 'completion');
    assert.ok(!('spid' in (events.at(-1) ?? {})));
    return events.find(({ type }) => type === 'shutdown')?.data;
  };
  assert.partialDeepStrictEqual(await ends('true', 60), { reason: 'job_complete' });
  assert.partialDeepStrictEqual(await ends('sleep 60', 60, 'TERM'), { reason: 'signal' });
  assert.partialDeepStrictEqual(await ends('sleep 60', 1), { reason: 'timeout' });
});

test('a run without a network logs none, and one without an image has an image of 0 bytes', async () => {
  await using bench = await openEngine();
  const ends = async (networking: object): Promise<readonly [boolean, unknown]> => {
    const { uuid } = await bench.engine.runs.start(script(bench, 'true', { networking, disposable: true }));
    const events = await followed(bench.engine, uuid);
    const { data } = events.at(-1) ?? {};
    return [events.some(({ type }) => type === 'network'), (data as { image_size_bytes?: unknown }).image_size_bytes];
  };
  assert.deepEqual(await ends({}), [true, 0]);
  assert.deepEqual(await ends({ enabled: false }), [false, 0]);
});

test('the record of a run has the UUID of its image, wherever the tag points later', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  await engine.tags.set(base.uuid, { tag: 'App:RC1' });
  const started = await engine.runs.start({ ...script(bench, 'true'), image: 'tag:App:RC1' });
  assert.equal(started.image, base.uuid);
  const { metadata } = await finished(engine, started.uuid);
  assert.equal('image' in metadata && metadata.image, base.uuid);
});

test('tags are removed one by one, or all at once', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  for (const tag of ['one', 'two', 'three']) await engine.tags.set(base.uuid, { tag });
  await engine.tags.remove(base.uuid, { tag: 'two' });
  assert.deepEqual((await engine.images.get(base.uuid)).tags, ['three', 'one']);
  await engine.tags.remove(base.uuid);
  assert.deepEqual((await engine.images.get(base.uuid)).tags, []);
});

test('as much output is kept as clients may ask for', async () => {
  await using bench = await openEngine();
  const bytes = limits.outputBytesKept;
  assert.equal(bytes, 10 * 1024 * 1024);
  const request = script(bench, `flood ${bytes}`, { truncate_output_at: bytes });
  const operation = await run(bench.engine, { ...request, disposable: true });
  assert.equal(stdoutOf(operation).length, bytes);
  assert.equal(resultOf(operation).stdout?.truncated ?? false, false);
});

test('what a run keeps of its environment and its working directory', async () => {
  await using bench = await openEngine({ config: { env: { OLD: '1', KEPT: '2' }, cwd: '/' } });
  const { engine } = bench;
  const first = script(bench, 'true', {
    env: { OLD: '', NEW: '3' },
    preserve_env: true,
    cwd: '/root',
    preserve_cwd: true,
  });
  const child = (await run(engine, first)).result_image_uuid ?? '';
  assert.notEqual(child, bench.base.uuid);
  const { env, cwd } = bench.store.forProject('default').images.get(child).config;
  assert.deepEqual([env, cwd], [{ KEPT: '2', NEW: '3' }, '/root']);
});

test('a run is root, whatever user the image names', async () => {
  await using bench = await openEngine({ config: { user: '1000:1000' } });
  const { uuid } = await bench.engine.runs.start(script(bench, 'true', { disposable: true }));
  const spawned = (await followed(bench.engine, uuid)).find(({ type }) => type === 'spawn');
  assert.partialDeepStrictEqual(spawned?.data, { uid: 0, gid: 0 });
});

test('SHELL of the request is the shell', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const { uuid } = await engine.runs.start(script(bench, 'true', { env: { SHELL: '/bin/bash' }, disposable: true }));
  const spawned = (await followed(engine, uuid)).find(({ type }) => type === 'spawn');
  assert.partialDeepStrictEqual(spawned?.data, { command: '/bin/bash', args: ['-c', 'true'] });
});
