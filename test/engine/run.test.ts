import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { limits } from '../../src/contract/limits.ts';
import { collectEvents, finished, followed, once, openEngine, resultOf, run, script, seen, stdoutOf } from './bench.ts';

test('run() makes a child image of what was written and leaves the parent alone', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const operation = await run(engine, script(bench, 'echo hello > /root/x; echo done'));
  assert.equal(operation.status, 'SUCCESS');
  assert.equal(stdoutOf(operation), 'done\n');
  const child = operation.result_image_uuid!;
  assert.notEqual(child, base.uuid);
  assert.equal(operation.result?.image, child);
  assert.deepEqual(
    (await engine.files.list(child, { path: '/root' })).files.map(({ path, size }) => [path, size]),
    [['x', 6]],
  );
  assert.deepEqual((await engine.files.list(base.uuid, { path: '/root' })).files, []);
  const { image, ancestors } = await engine.images.lineage(child);
  assert.equal(image.command, 'echo hello > /root/x; echo done');
  assert.equal(image.exit_code, 0);
  assert.equal(image.operation_uuid, operation.uuid);
  assert.deepEqual(
    ancestors.map(({ uuid, command }) => [uuid, command]),
    [[base.uuid, 'import']],
  );
});

test('run() that changes nothing returns the input image', async () => {
  await using bench = await openEngine();
  const { base, store } = bench;
  const before = store.layers.usage();
  // Files that were created and removed again leave only changed times of their directory.
  for (const command of ['echo hi', 'echo x > /root/x; rm /root/x', 'mkdir /root/d; echo x > /root/d/x; rm /root/d']) {
    const operation = await run(bench.engine, script(bench, command));
    assert.equal(operation.status, 'SUCCESS', command);
    assert.equal(operation.result_image_uuid, base.uuid, command);
    assert.deepEqual(store.layers.usage(), before, command);
  }
  assert.equal(store.images.count(), 1);
});

test('a disposable run makes no image', async () => {
  await using bench = await openEngine();
  const operation = await run(bench.engine, script(bench, 'echo x > /x', { disposable: true }));
  assert.equal(operation.status, 'SUCCESS');
  assert.equal(operation.result_image_uuid, null);
  assert.deepEqual(operation.result, { image: null, tag: null });
  assert.equal(bench.store.images.count(), 1);
});

test('a failing command is a result, and its changes are kept', async () => {
  await using bench = await openEngine();
  const failing = await run(bench.engine, script(bench, 'echo x > /x; echo bad >&2; exit 3'));
  assert.equal(failing.status, 'SUCCESS');
  assert.equal(resultOf(failing).state?.exit_code, 3);
  assert.equal(resultOf(failing).state?.signal, -1);
  assert.equal(resultOf(failing).stderr?.value, 'bad\n');
  assert.notEqual(failing.result_image_uuid, bench.base.uuid);
  const missing = await run(bench.engine, { command: 'no-such-program', image: bench.base.uuid, args: ['-x'] });
  assert.equal(missing.status, 'SUCCESS');
  assert.equal(resultOf(missing).state?.exit_code, 127);
  const listed = await bench.engine.operations.list({});
  assert.deepEqual(
    listed.map(({ subject, exit_code }) => [subject, exit_code]),
    [
      ['no-such-program -x', 127],
      ['echo x > /x; echo bad >&2; exit 3', 3],
    ],
  );
});

test('a timeout ends the run with what it had put out', async () => {
  await using bench = await openEngine();
  const operation = await run(bench.engine, script(bench, 'echo before; sleep 60', { timeout: 1 }));
  assert.equal(operation.status, 'SUCCESS');
  const { state, stdout } = resultOf(operation);
  assert.equal(state?.timed_out, true);
  assert.equal(state?.signal, 9);
  assert.equal(state?.exit_code, -1);
  assert.equal(stdout?.value, 'before\n');
  assert.ok(operation.duration >= 1 && operation.duration < 3.5, String(operation.duration));
});

test('TERM to process 1 is a success with a result image', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const { uuid } = await engine.runs.start(script(bench, 'echo x > /x; echo ready; sleep 60'));
  await seen(engine, uuid, ({ type }) => type === 'stdout');
  await engine.processes.kill(uuid, 1, { signal: 'TERM' });
  const operation = await finished(engine, uuid);
  assert.equal(operation.status, 'SUCCESS');
  assert.equal(resultOf(operation).state?.signal, 15);
  assert.notEqual(operation.result_image_uuid, bench.base.uuid);
});

test('env is merged from defaults, image and request; null unsets; preserve_env goes into the result image', async () => {
  await using bench = await openEngine({ config: { env: { FROM_IMAGE: 'a', GONE: 'b' }, cwd: '/srv' } });
  const { engine, store } = bench;
  const first = await run(
    engine,
    script(bench, 'printenv FROM_IMAGE; printenv MINE; printenv GONE; printenv HOME; pwd', {
      env: { MINE: 'c', GONE: null },
      preserve_env: true,
    }),
  );
  assert.equal(stdoutOf(first), 'a\nc\n/root\n/srv\n');
  const child = first.result_image_uuid!;
  assert.notEqual(child, bench.base.uuid, 'another environment is another image');
  assert.deepEqual(store.images.get(child).config.env, { FROM_IMAGE: 'a', MINE: 'c' });
  assert.deepEqual(store.images.get(child).layers, bench.base.layers);
  const second = await run(engine, { command: 'printenv', args: ['MINE'], image: child, disposable: true });
  assert.equal(stdoutOf(second), 'c\n');
});

test('args are words of their own without a shell and further words of the expression with one', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const plain = await run(engine, { command: 'echo', args: ['a b', '$HOME'], image: base.uuid, disposable: true });
  assert.equal(stdoutOf(plain), 'a b $HOME\n');
  const shell = await run(engine, script(bench, 'echo $HOME', { args: ["it's", '$HOME'], disposable: true }));
  assert.equal(stdoutOf(shell), "/root it's $HOME\n");
  const interpreter = await run(
    engine,
    script(bench, '/bin/sh', { args: ['-s'], stdin: { value: 'echo from stdin' }, disposable: true }),
  );
  assert.equal(stdoutOf(interpreter), 'from stdin\n');
});

test('truncate_output_at shows the first bytes and keeps the rest', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const operation = await run(engine, script(bench, 'flood 100000', { truncate_output_at: 50, disposable: true }));
  const { stdout, stderr } = resultOf(operation);
  assert.deepEqual(stdout, { value: 'x'.repeat(50), encoding: 'ascii', truncated: true });
  assert.deepEqual(stderr, { value: '', encoding: 'ascii', truncated: false });
  const length = async (full: boolean): Promise<number> => {
    let bytes = 0;
    for await (const event of engine.operations.events(operation.uuid, { full })) {
      if (event.type === 'stdout') bytes += event.data.value.length;
    }
    return bytes;
  };
  assert.equal(await length(false), 50, 'clients that add up events get what they asked for');
  assert.equal(await length(true), 100_000);
  const truncated = (await followed(engine, operation.uuid)).find(({ type }) => type === 'truncated');
  assert.deepEqual(truncated?.data, {
    stream: 'stdout',
    bytes_emitted: 50,
    bytes_dropped: 99_950,
    bytes_kept: 100_000,
  });
});

test('who follows the same log at the same time sees as much as each has asked for', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const stdin = { value: '', close: false };
  const { uuid } = await engine.runs.start(
    script(bench, 'echo up; cat; flood 100', { truncate_output_at: 50, stdin, disposable: true }),
  );
  const bytes = async (full: boolean): Promise<number> => {
    let sum = 0;
    for await (const event of engine.operations.events(uuid, { follow: true, full }, AbortSignal.timeout(30_000))) {
      if (event.type === 'stdout') sum += event.data.value.length;
    }
    return sum;
  };
  const readers = [false, true, false, true].map(bytes);
  await seen(engine, uuid, ({ type }) => type === 'stdout');
  await engine.processes.write(uuid, 1, { value: '', close: true });
  assert.deepEqual(await Promise.all(readers), [50, 103, 50, 103]);
});

test('of output beyond the limit the end is kept, the rest is counted', async () => {
  await using bench = await openEngine();
  const bytes = 20 * 1024 * 1024;
  const operation = await run(bench.engine, script(bench, `flood ${bytes}; echo the end`, { disposable: true }));
  const events = await collectEvents(bench.engine.operations.events(operation.uuid, { full: true }));
  const at = events.findIndex(({ type }) => type === 'truncated');
  assert.deepEqual(events[at]?.data, {
    stream: 'stdout',
    bytes_emitted: 1024 * 1024,
    bytes_dropped: bytes + 8 - 1024 * 1024,
    bytes_kept: limits.outputBytesKept,
  });
  const text = (part: typeof events): string =>
    part.map((event) => (event.type === 'stdout' ? event.data.value : '')).join('');
  assert.equal(text(events.slice(0, at)), 'x'.repeat(limits.outputBytesKept));
  assert.equal(text(events.slice(at)), `${'x'.repeat(64 * 1024 - 8)}the end\n`);
  assert.equal(resultOf(operation).stdout?.value, 'x'.repeat(1024 * 1024));
});

test('bytes that are not text come as base64', async () => {
  await using bench = await openEngine();
  const operation = await run(bench.engine, script(bench, String.raw`printf '\xff\x00ok'`, { disposable: true }));
  assert.deepEqual(resultOf(operation).stdout, { value: '/wBvaw==', encoding: 'base64', truncated: false });
});

test('files are put into the image, through its symlinks, with mode and owner', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const upload = await engine.uploads.create(once('#!/bin/sh\necho tool\n'));
  const operation = await run(
    engine,
    script(bench, 'true', { files: { '/bin/tool': { uuid: upload.uuid, mode: '0o100755', uid: 7, gid: 8 } } }),
  );
  const child = operation.result_image_uuid!;
  assert.notEqual(child, bench.base.uuid, 'injected files are part of the result');
  const item = await engine.files.stat(child, { path: '/usr/bin/tool' });
  assert.deepEqual([item.mode, item.uid, item.gid, item.size], [0o100755, 7, 8, 20]);
  assert.equal((await engine.files.stat(child, { path: '/bin' })).symlink_to, 'usr/bin', 'the link is still there');
});

test('a directory that the image has as a link stays one, and what is in it goes where the link leads', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const { sha256 } = await engine.uploads.create(once('tool'));
  const { state } = await engine.uploads.offerDirectory({
    entries: [
      { path: '/bin', mode: 0o700 },
      { path: '/bin/tool', sha256, mode: 0o755 },
      { path: '/etc', mode: 0o711 },
    ],
  });
  const { result_image_uuid: child } = await run(engine, script(bench, 'true', { directory_states: [state!.id] }));
  assert.equal((await engine.files.stat(child!, { path: '/bin' })).symlink_to, 'usr/bin');
  assert.equal((await engine.files.stat(child!, { path: '/usr/bin/tool' })).size, 4);
  assert.equal((await engine.files.stat(child!, { path: '/etc' })).mode, 0o40711);
  assert.equal((await engine.files.stat(child!, { path: '/etc/passwd' })).is_regular, true);
});

test('an upload that was damaged on disk fails the run that needs it, by name', async () => {
  await using bench = await openEngine();
  const { engine, directory } = bench;
  // Large enough for a separate file.
  const bytes = 200_000;
  for (const harmed of [bytes - 1, bytes + 1, bytes]) {
    const { uuid, sha256 } = await engine.uploads.create(once('x'.repeat(bytes)));
    await writeFile(join(directory, 'files', sha256), 'y'.repeat(harmed));
    const operation = await run(engine, script(bench, 'true', { files: { '/x': { uuid } } }));
    assert.deepEqual([operation.status, operation.error_code], ['FAILED', 'UPLOAD_NOT_FOUND'], `${harmed} bytes`);
  }
});

test('a set of files becomes one layer that every run uses again', async () => {
  let boots = 0;
  const layers: number[] = [];
  await using bench = await openEngine({
    hooks: {
      beforeBoot: async (spec) => {
        boots += 1;
        layers.push(spec.layers.length);
      },
    },
  });
  const { engine, store } = bench;
  const contents = await Promise.all(['one', 'two'].map((text) => engine.uploads.create(once(text))));
  const entries = contents.map(({ sha256 }, index) => ({ path: `/work/dir/${index}`, sha256, mode: 0o600 }));
  const { state, missing } = await engine.uploads.offerDirectory({ entries });
  assert.deepEqual(missing, []);
  const again = await engine.uploads.offerDirectory({ entries: entries.toReversed() });
  assert.equal(again.state?.id, state?.id, 'a state is what it holds, whatever the order');
  const before = store.layers.usage().count;
  const runs = await Promise.all(
    Array.from({ length: 10 }, () =>
      run(engine, script(bench, 'true', { directory_states: [state!.id], disposable: true })),
    ),
  );
  assert.ok(runs.every(({ status }) => status === 'SUCCESS'));
  assert.equal(store.layers.usage().count, before + 1);
  assert.deepEqual([boots, layers], [10, Array.from({ length: 10 }, () => 2)]);
});

test('what a run needs and is not there is said when it is asked for', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const cases = [
    [script(bench, 'true', { image: '00000000-0000-4000-8000-000000000000' }), 'IMAGE_NOT_FOUND'],
    [script(bench, 'true', { image: 'tag:none' }), 'IMAGE_NOT_FOUND'],
    [script(bench, 'true', { files: { '/x': { uuid: '00000000-0000-4000-8000-000000000000' } } }), 'UPLOAD_NOT_FOUND'],
    [script(bench, 'true', { directory_states: ['none'] }), 'DIRECTORY_STATE_NOT_FOUND'],
    [script(bench, 'true', { files: { '../x': { uuid: 'none' } } }), 'PATH_INVALID'],
    [script(bench, 'true', { cwd: 'relative' }), 'PATH_INVALID'],
    [script(bench, 'a\0b'), 'ARGUMENT_INVALID'],
    [script(bench, 'true', { env: { 'A=B': 'x' } }), 'ARGUMENT_INVALID'],
    [script(bench, 'true', { networking: { mode: 'allowlist', allow: ['0x7f.1'] } }), 'ARGUMENT_INVALID'],
    [script(bench, 'true', { networking: { mode: 'public', allow: ['example.org'] } }), 'ARGUMENT_INVALID'],
    [script(bench, 'true', { networking: { mode: 'none', allow: ['example.org'] } }), 'ARGUMENT_INVALID'],
    [script(bench, 'true', { networking: { enabled: false, allow: ['example.org'] } }), 'ARGUMENT_INVALID'],
  ] as const;
  for (const [request, code] of cases) {
    await assert.rejects(engine.runs.start(request), (error) => isFault(error, code), code);
  }
  assert.deepEqual(await engine.operations.list({}), []);
});

test('what Linux cannot pass to a program is refused before a sandbox is started, and named', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const image = base.uuid;
  const word = 'x'.repeat(limits.argumentBytesMax);
  for (const [request, named] of [
    [{ command: `${word}y`, shell: true }, /^command: a word of it is longer than the 131071 bytes/u],
    [{ command: 'printf', args: [word, `${word}y`] }, /^command: /u],
    [{ command: 'true', env: { BIG: word } }, /^env: "BIG" is longer than/u],
  ] as const) {
    await assert.rejects(engine.runs.start({ image, ...request, args: [...('args' in request ? request.args : [])] }), {
      code: 'ARGUMENT_INVALID',
      message: named,
    });
  }
  assert.ok(await engine.runs.start({ image, command: 'true', args: [word], env: { B: word.slice(2) } }));
});

test('a guest that goes away fails its run only', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const [lost, well] = await Promise.all([
    run(engine, script(bench, 'echo x > /x; crash')),
    run(engine, script(bench, 'echo y > /y')),
  ]);
  assert.equal(lost.status, 'FAILED');
  assert.equal(lost.error_code, 'GUEST_LOST');
  assert.match(lost.error ?? '', /the guest crashed/u);
  assert.equal(lost.result_image_uuid, null);
  assert.equal(well.status, 'SUCCESS');
  assert.equal(bench.driver.live, 0);
});

test('writing more than the layer may hold is said as such', async () => {
  await using bench = await openEngine();
  const operation = await run(
    bench.engine,
    script(bench, 'flood 40000 > /big', { resources_limits: { max_layer_bytes: 20_000 } }),
  );
  // The guest's disk is this small: the program gets the same error as on any full disk.
  assert.equal(operation.status, 'SUCCESS');
  assert.match(resultOf(operation).stderr?.value ?? '', /No space left on device/u);
});

test('the result says where and how the run went', async () => {
  await using bench = await openEngine();
  const { execution, metadata } = await run(bench.engine, script(bench, 'echo x > /x'));
  assert.equal(execution?.accelerator, 'none');
  assert.equal(execution?.jail.missing.length, 1);
  assert.deepEqual(Object.keys(execution?.steps_ms ?? {}), [
    'queue',
    'prepare',
    'restore',
    'mount',
    'boot',
    'exec',
    'commit',
    'teardown',
  ]);
  assert.deepEqual(execution?.network, { rx_bytes: 0, tx_bytes: 0, dropped: 0 });
  assert.ok('env' in metadata && typeof metadata.env === 'object');
  assert.equal('stdin' in metadata && metadata.stdin?.value, '');
});

test('a guest gets at least the memory that was asked for', async () => {
  const sizes: number[] = [];
  await using bench = await openEngine({ hooks: { beforeBoot: async ({ memoryMib }) => void sizes.push(memoryMib) } });
  for (const memory_mib of [200, 256, undefined]) {
    const resources = memory_mib === undefined ? {} : { resources_limits: { memory_mib } };
    await run(bench.engine, script(bench, 'true', { ...resources, disposable: true }));
  }
  assert.deepEqual(sizes, [256, 256, 1_024]);
});
