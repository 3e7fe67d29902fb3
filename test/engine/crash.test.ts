import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { once } from 'node:events';
import { syncBuiltinESMExports } from 'node:module';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFinished } from '../../src/contract/operation.ts';
import { FakeDriver } from '../support/fake-sandbox/driver.ts';
import { Store } from '../../src/store/store.ts';
import { addLayer, scratch } from '../store/bench.ts';
import { collectEvents, once as bytes, openEngine, run, script, startEngine, type EngineBench } from './bench.ts';

/** Functions through which the store changes the disk. */
const STEPS = ['rename', 'rm', 'chmod', 'mkdir'] as const;

/**
 * Calls `before` ahead of every step that changes the disk while `body` runs. The disk then is exactly what a process
 * killed at that instant leaves: the kernel keeps what was written.
 */
async function interrupted(before: (step: string) => void, body: () => Promise<void>): Promise<void> {
  const undo: (() => void)[] = [];
  const wrap = (owner: object, name: string): void => {
    const original = Reflect.get(owner, name) as (...args: unknown[]) => unknown;
    const wrapped = function wrapped(this: unknown, ...args: unknown[]): unknown {
      if (name !== 'exec' || args[0] === 'COMMIT') before(name);
      return original.apply(this, args);
    };
    Reflect.set(owner, name, wrapped);
    undo.push(() => Reflect.set(owner, name, original));
  };
  for (const name of STEPS) wrap(fs.promises, name);
  wrap(fs, 'renameSync');
  wrap(DatabaseSync.prototype, 'exec');
  syncBuiltinESMExports();
  try {
    await body();
  } finally {
    for (const restore of undo) restore();
    syncBuiltinESMExports();
  }
}

/** Opens the remaining store and checks that it is intact and works. */
async function assertWhole(directory: string, after: string, deleted: readonly string[] = []): Promise<void> {
  await using store = await Store.open(directory);
  await using driver = new FakeDriver();
  await using engine = startEngine(store, driver);
  assert.deepEqual(fs.readdirSync(store.tmp), [], after);
  const { checks } = await engine.system.doctor({ verify: true });
  assert.deepEqual(
    checks.filter(({ status }) => status === 'failed'),
    [],
    after,
  );
  for (const { uuid } of await engine.images.list({ limit: 1_000 })) {
    const { layers } = store.images.get(uuid);
    assert.equal((await store.layers.files(layers)).length, layers.length, after);
    await engine.images.lineage(uuid);
  }
  for (const operation of await engine.operations.list({ limit: 1_000 })) {
    assert.ok(isFinished(operation.status), after);
    const events = await collectEvents(engine.operations.events(operation.uuid, { follow: true }));
    const last = events.at(-1);
    assert.ok(last?.type === 'completion' && last.data.status === operation.status, after);
    assert.equal(last.data.result_image_uuid, operation.result_image_uuid, after);
    const { result_image_uuid: image } = operation;
    if (image !== null && !deleted.includes(image)) await engine.images.get(image);
    if (operation.status === 'FAILED') assert.match(operation.error ?? '', /engine stopped/u, after);
  }
  const files = store.files.list({ limit: 1_000 });
  for (const { sha256 } of files) assert.ok(store.files.isWhole(sha256), after);
}

/** Does everything that publishes or removes something. Returns the deleted images. */
async function everything(bench: EngineBench): Promise<string[]> {
  const { engine, store } = bench;
  const { uuid, sha256 } = await engine.uploads.create(bytes('an uploaded file'));
  const { state } = await engine.uploads.offerDirectory({ entries: [{ path: '/srv/x', sha256, mode: 0o644 }] });
  const child = await run(
    engine,
    script(bench, 'echo x > /x; echo out', { files: { '/y': { uuid } }, directory_states: [state!.id] }),
  );
  assert.equal(child.status, 'SUCCESS');
  await engine.tags.set(child.result_image_uuid!, { tag: 'child' });
  const loose = await run(engine, script(bench, 'echo z > /z'));
  const deleted = await engine.images.delete(loose.result_image_uuid!);
  await addLayer(store);
  const report = await engine.system.gc({ older_than_days: 0 });
  assert.ok(report.layers >= 2);
  return [...deleted, ...(await engine.images.delete('tag:child'))];
}

test('killed at any step that changes the disk, the store is whole at the next start', async () => {
  await using bench = await openEngine();
  await using copies = await scratch();
  const steps: string[] = [];
  const deleted: string[] = [];
  await interrupted(
    (step) => {
      fs.cpSync(bench.directory, join(copies.path, String(steps.length)), { recursive: true });
      steps.push(step);
    },
    async () => {
      deleted.push(...(await everything(bench)));
    },
  );
  assert.ok(steps.length > 20 && steps.includes('rename') && steps.includes('renameSync'), steps.join(' '));
  for (const [index, step] of steps.entries()) {
    await assertWhole(join(copies.path, String(index)), `before step ${index}, ${step}`, deleted);
  }
});

const VICTIM = `
  import { openEngine, run, script } from ${JSON.stringify(new URL('./bench.ts', import.meta.url).href)};
  const bench = await openEngine();
  process.stdout.write(bench.directory + '\\n');
  for (let round = 0; ; round += 1) {
    await Promise.all([0, 1, 2].map((index) => run(bench.engine, script(bench, 'echo ' + round + ' > /f' + index + '; echo out'))));
    process.stdout.write('.');
  }`;

test('an engine killed while it works leaves a whole store', async () => {
  for (const rounds of [1, 3]) {
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', VICTIM], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    for await (const chunk of child.stdout) {
      said += String(chunk);
      if (said.split('.').length > rounds) break;
    }
    child.kill('SIGKILL');
    await once(child, 'exit');
    const directory = said.split('\n', 1)[0]!;
    try {
      await assertWhole(directory, `after ${rounds} rounds`);
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
  }
});

test('a layer is on disk before its name is, and its name before its row', async () => {
  await using bench = await openEngine();
  const trace: string[] = [];
  const probe = await fs.promises.open(join(bench.directory, 'lock'));
  const handles = Object.getPrototypeOf(probe) as { sync: () => Promise<void> };
  await probe.close();
  const { sync } = handles;
  handles.sync = function traced(this: fs.promises.FileHandle): Promise<void> {
    trace.push(`sync, ${bench.store.layers.usage().count} rows`);
    return sync.call(this);
  };
  try {
    await interrupted(
      (step) => trace.push(step),
      async () => {
        await addLayer(bench.store);
      },
    );
  } finally {
    handles.sync = sync;
  }
  assert.deepEqual(trace.slice(0, 4), ['chmod', 'sync, 1 rows', 'rename', 'sync, 1 rows']);
  assert.equal(bench.store.layers.usage().count, 2);
});
