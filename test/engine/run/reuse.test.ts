import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { EMPTY_IMAGE_CONFIG } from '../../../src/contract/image.ts';
import type { InstanceSpawnRequest } from '../../../src/contract/run.ts';
import { injectedSet } from '../../../src/engine/run/injected-set.ts';
import { planRun } from '../../../src/engine/run/plan.ts';
import { canonical } from '../../../src/engine/run/reuse.ts';
import {
  addRoot,
  collectEvents,
  finished,
  once,
  openEngine,
  resultOf,
  run,
  script,
  seen,
  stdoutOf,
  type EngineBench,
} from '../bench.ts';

const COMMAND = 'echo $RANDOM; echo out; echo err >&2; echo x > /root/x';

/** Starts a run that asks for reuse, and returns the operation whose result it got; undefined for its own. */
async function reusedFrom(
  { engine }: Pick<EngineBench, 'engine'>,
  request: InstanceSpawnRequest,
): Promise<string | undefined> {
  const { uuid, reused } = await engine.runs.start({ reuse: true, ...request });
  const operation = await finished(engine, uuid);
  assert.equal(operation.reused, reused);
  return operation.reused_operation;
}

test('a run that asks for reuse has the recorded result at once, in an operation of its own', async () => {
  let started = 0;
  await using bench = await openEngine({ hooks: { beforeBoot: async () => void (started += 1) } });
  const { engine, base } = bench;
  const first = await run(engine, script(bench, COMMAND));
  const { uuid, reused, image } = await engine.runs.start(script(bench, COMMAND, { reuse: true }));
  assert.deepEqual([reused, image, started], [true, base.uuid, 1]);
  const second = await engine.operations.get(uuid);
  assert.notEqual(uuid, first.uuid);
  assert.deepEqual([second.status, second.result_image_uuid], ['SUCCESS', first.result_image_uuid]);
  assert.deepEqual([second.reused, second.reused_operation], [true, first.uuid]);
  assert.ok(second.reused_age! >= 0);
  assert.deepEqual(resultOf(second), resultOf(first));
  assert.deepEqual([second.exit_code, second.consumed_cpu, second.image_size], [0, null, first.image_size]);
  const [one, other] = await Promise.all(
    [first.uuid, uuid].map((id) => collectEvents(engine.operations.events(id, { follow: true }))),
  );
  assert.deepEqual(other!.slice(0, -1), one!.slice(0, -1));
  const { status, result_image_uuid: result } = other!.at(-1)!.data as Record<string, unknown>;
  assert.deepEqual([status, result], ['SUCCESS', first.result_image_uuid]);
  const again = await reusedFrom(bench, script(bench, COMMAND));
  assert.equal(again, first.uuid, 'the result of the run itself, not of its reuse');
  assert.equal((await engine.images.lineage(second.result_image_uuid!)).image.operation_uuid, first.uuid);
  assert.equal((await run(engine, script(bench, COMMAND))).reused, undefined, 'only for those who ask');
});

test('only what ended with exit code 0, and was left alone, is recorded', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  for (const command of ['echo x; exit 3', 'no-such-program']) {
    await run(engine, script(bench, command));
    assert.equal(await reusedFrom(bench, script(bench, command)), undefined, command);
  }
  // A process that a client started in it makes the file that it waits for.
  const joined = script(bench, 'echo ready; awaits /go; echo done');
  const { uuid } = await engine.runs.start(joined);
  await seen(engine, uuid, ({ type }) => type === 'stdout');
  await engine.processes.start(uuid, { command: 'touch', args: ['/go'] });
  assert.equal((await finished(engine, uuid)).exit_code, 0);
  const own = await engine.runs.start({ ...joined, reuse: true });
  assert.equal(own.reused, undefined);
  await engine.operations.cancel(own.uuid);
  // Input that is sent while it runs.
  const fed = script(bench, 'cat', { stdin: { value: 'text', close: false } });
  for (const reuse of [false, true]) {
    const started = await engine.runs.start({ ...fed, reuse });
    assert.equal(started.reused, undefined);
    await seen(engine, started.uuid, ({ type }) => type === 'stdout');
    await engine.processes.write(started.uuid, 1, { value: '' });
    assert.equal((await finished(engine, started.uuid)).exit_code, 0);
  }
});

test('secrets are never reused, and no key tells what standard input was', async () => {
  await using bench = await openEngine();
  const { engine, directory } = bench;
  const secret = script(bench, 'echo a', { env: { API_KEY: 'hunter2' } });
  await run(engine, secret);
  assert.equal(await reusedFrom(bench, secret), undefined);
  const typed = script(bench, 'cat', { stdin: { value: 'hunter2' } });
  const { uuid } = await run(engine, typed);
  assert.equal(await reusedFrom(bench, typed), uuid);
  assert.equal(await reusedFrom(bench, { ...typed, stdin: { value: 'hunter3' } }), undefined);
  const encoded = { value: Buffer.from('hunter2').toString('base64'), encoding: 'base64' } as const;
  assert.equal(await reusedFrom(bench, { ...typed, stdin: encoded }), uuid, 'the same bytes');
  await bench.store[Symbol.asyncDispose]();
  const database = (await readFile(join(directory, 'store.sqlite'))).toString('latin1');
  assert.ok(!database.includes(createHash('sha256').update('hunter2').digest('hex')));
  assert.equal((await readFile(join(directory, 'reuse.key'))).byteLength, 32);
});

test('the result of a run that used its network is given only to those who accept that', async () => {
  const networkUse = { rxBytes: 60, rxPackets: 1, txBytes: 60, txPackets: 1, dropped: 0, refused: [] };
  await using bench = await openEngine({ hooks: { networkUse } });
  const { uuid } = await run(bench.engine, script(bench, 'echo a'));
  assert.equal(await reusedFrom(bench, script(bench, 'echo a')), undefined);
  const { reused_operation: earlier } = await run(bench.engine, script(bench, 'echo a', { reuse: 'network' }));
  assert.notEqual(earlier, undefined);
  assert.notEqual(earlier, uuid, 'the latest result, of the run that was not reused');
});

test('a result whose image or output is gone is not reused, and gc forgets it', async () => {
  await using bench = await openEngine();
  const { engine, store, base } = bench;
  const kept = await run(engine, script(bench, 'echo x > /x'));
  const unchanged = await run(engine, script(bench, 'echo same'));
  assert.equal(unchanged.result_image_uuid, base.uuid);
  await engine.images.delete(kept.result_image_uuid!);
  assert.equal(await reusedFrom(bench, script(bench, 'echo x > /x', { disposable: true })), undefined);
  assert.equal(await reusedFrom(bench, script(bench, 'echo same')), unchanged.uuid);
  const again = await engine.runs.start(script(bench, 'echo x > /x', { reuse: true }));
  assert.equal(again.reused, undefined);
  await finished(engine, again.uuid);
  await store.gc({ dryRun: false, unusedSinceMs: Date.now() + 1, usedBy: () => undefined });
  assert.equal(await reusedFrom(bench, script(bench, 'echo same')), undefined, 'its output was dropped');
});

test('projects do not see the results of each other', async () => {
  await using bench = await openEngine();
  const { engine, store, base } = bench;
  const other = engine.forTenant({ project: 'other' });
  const image = await addRoot(store.forProject('other'));
  await run(engine, script(bench, 'echo a'));
  const request = { command: 'echo a', shell: true, image: image.uuid, reuse: true } as const;
  assert.equal((await other.runs.start(request)).reused, undefined);
  assert.notEqual(store.recordedRuns.keyOf('text'), store.forProject('other').recordedRuns.keyOf('text'));
  assert.notEqual(base.uuid, image.uuid);
});

test('equal runs at the same time both run, and the next one is answered', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const request = script(bench, 'echo x > /x; echo done', { reuse: true });
  const both = await Promise.all([engine.runs.start(request), engine.runs.start(request)]);
  assert.deepEqual(
    both.map(({ reused }) => reused),
    [undefined, undefined],
  );
  const ended = await Promise.all(both.map(({ uuid }) => finished(engine, uuid)));
  assert.ok(ended.every((operation) => stdoutOf(operation) === 'done\n'));
  const earlier = await reusedFrom(bench, request);
  assert.ok(both.some(({ uuid }) => uuid === earlier));
});

test('whatever is changed in a request changes its key, and what only looks different does not', async () => {
  await using bench = await openEngine();
  const { store, base } = bench;
  const files = await Promise.all(['one', 'two'].map((text) => bench.engine.uploads.create(once(text))));
  const [one, two] = files.map(({ uuid }) => uuid);
  const plain: InstanceSpawnRequest = {
    image: base.uuid,
    command: 'make',
    args: ['all'],
    shell: false,
    disposable: false,
    env: { A: '1', B: '2' },
    cwd: '/src',
    uid: 7,
    gid: 8,
    hostname: 'box',
    timeout: 60,
    truncate_output_at: 100,
    preserve_env: true,
    preserve_cwd: false,
    networking: { mode: 'allowlist', allow: ['a.example', 'b.example'] },
    resources_limits: { cpus: 1, memory_mib: 1_024, max_layer_bytes: 1_000_000 },
    files: { '/f': { uuid: one!, mode: '0644', uid: 1, gid: 2 } },
    stdin: { value: 'text' },
  };
  const others: { readonly [Field in keyof InstanceSpawnRequest]?: fc.Arbitrary<InstanceSpawnRequest[Field]> } = {
    command: fc.string({ minLength: 1, maxLength: 5 }).filter((text) => text !== 'make' && !text.includes('\0')),
    args: fc.array(fc.stringMatching(/^[a-z" ]{0,4}$/u), { maxLength: 3 }).filter((words) => words.join() !== 'all'),
    shell: fc.constant(true),
    disposable: fc.constant(true),
    env: fc.oneof(
      fc.dictionary(fc.stringMatching(/^[A-Z_]{1,3}$/u), fc.stringMatching(/^[a-z=]{0,3}$/u), { maxKeys: 3 }),
      fc.constantFrom({ A: '1' }, { A: '2', B: '1' }, { A: '1', B: '2', C: '' }, { A: '1', B: null }),
    ),
    cwd: fc.constantFrom('/', '/src/', '/src/a'),
    uid: fc.integer({ min: 9, max: 99 }),
    gid: fc.integer({ min: 9, max: 99 }),
    hostname: fc.constantFrom('box2', 'b', undefined),
    timeout: fc.integer({ min: 61, max: 99 }),
    truncate_output_at: fc.integer({ min: 101, max: 999 }),
    preserve_env: fc.constant(false),
    preserve_cwd: fc.constant(true),
    networking: fc.constantFrom<InstanceSpawnRequest['networking']>(
      { enabled: false },
      { mode: 'public' },
      { mode: 'allowlist', allow: ['a.example'] },
      { mode: 'allowlist', allow: ['a.example', 'b.example', 'c.example'] },
    ),
    resources_limits: fc.constantFrom({ cpus: 2 }, { memory_mib: 4_096 }, { max_layer_bytes: 999_999 }),
    files: fc.constantFrom<InstanceSpawnRequest['files']>(
      {},
      { '/f': { uuid: two!, mode: '0644', uid: 1, gid: 2 } },
      { '/f': { uuid: one!, mode: '0755', uid: 1, gid: 2 } },
      { '/f': { uuid: one!, mode: '0644', uid: 2, gid: 2 } },
      { '/f': { uuid: one!, mode: '0644', uid: 1, gid: 1 } },
      { '/g': { uuid: one!, mode: '0644', uid: 1, gid: 2 } },
    ),
    stdin: fc.constantFrom({ value: 'texu' }, { value: '' }, undefined, { value: 'text', encoding: 'base64' as const }),
    tty: fc.constantFrom({ columns: 80, rows: 24 }),
    image: fc.constant('another'),
  };
  const keyOf = (request: InstanceSpawnRequest, config = EMPTY_IMAGE_CONFIG): string =>
    canonical({ image: request.image, plan: planRun(request, config), injected: injectedSet(store, request) });
  const known = keyOf(plain);
  for (const [field, values] of Object.entries(others)) {
    fc.assert(
      fc.property(values as fc.Arbitrary<unknown>, (value) => {
        assert.notEqual(keyOf({ ...plain, [field]: value }), known, field);
      }),
      { numRuns: 30 },
    );
  }
  const same = { ...plain, env: { B: '2', A: '1' }, reuse: 'network', sandbox: 'gvisor' } as const;
  assert.equal(keyOf({ ...same, files: { '/f': { gid: 2, uid: 1, mode: 0o100644, uuid: one! } } }), known);
  assert.notEqual(keyOf(plain, { ...EMPTY_IMAGE_CONFIG, env: { C: '3' } }), known, 'the environment of the image');
  // The parts of a request that the plan makes something else of stand in it as a whole.
  const fields = Object.keys({ ...plain, tty: 0 }).toSorted();
  assert.deepEqual(Object.keys(others).toSorted(), fields);
});
