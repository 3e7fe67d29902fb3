import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { imageImporter } from '../../src/images/import/importer.ts';
import { tarLayer } from '../images/import/support.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { collectEvents, finished, once, openEngine, script, type EngineBench } from './bench.ts';

/** Reproducible pseudo-random numbers. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

interface Turn {
  readonly index: number;
  /** An image in a registry. */
  readonly reference: string;
}

/** One of the concurrent actions of clients; a returned operation has been accepted. */
async function act({ engine, base }: EngineBench, dice: number, { index, reference }: Turn): Promise<void> {
  const tag = `tag-${index % 7}`;
  const missing = (error: unknown): void => {
    // Before acceptance a name may be unknown, which is a valid answer. After acceptance nothing may get lost.
    if (!isFault(error, 'IMAGE_NOT_FOUND', 'IMAGE_IN_USE', 'UPLOAD_NOT_FOUND')) throw error;
  };
  if (dice < 0.4) {
    const image = dice < 0.2 ? base.uuid : `tag:${tag}`;
    const spawned = await engine.runs
      .start({ command: `echo ${index} > /f`, shell: true, image, disposable: dice < 0.1 })
      .catch(missing);
    if (spawned === undefined) return;
    const operation = await finished(engine, spawned.uuid);
    assert.equal(operation.status, 'SUCCESS', `${operation.error_code} ${operation.error}`);
    if (operation.result_image_uuid !== null)
      await engine.tags.set(operation.result_image_uuid, { tag }).catch(missing);
  } else if (dice < 0.6) await engine.system.gc({ older_than_days: 0, ...(dice < 0.45 && { maxBytes: 200_000 }) });
  else if (dice < 0.75) {
    await engine.images.delete(`tag:${tag}`, { cascade: dice < 0.7 }).catch(missing);
  } else if (dice < 0.85) {
    const { uuid } = await engine.uploads.create(once(`content ${index % 10}`));
    const request = { command: 'true', image: base.uuid, files: { '/upload': { uuid } }, disposable: true };
    const spawned = await engine.runs.start(request).catch(missing);
    if (spawned !== undefined) assert.equal((await finished(engine, spawned.uuid)).status, 'SUCCESS');
  } else if (dice < 0.92) {
    const { uuid } = await engine.images.import({ registry: { url: reference }, ...(dice < 0.89 && { tag }) });
    const operation = await finished(engine, uuid);
    assert.equal(operation.status, 'SUCCESS', `${operation.error_code} ${operation.error}`);
  } else if (dice < 0.96) await engine.files.list(`tag:${tag}`, { path: '/' }).catch(missing);
  else await engine.images.diff(base.uuid, { to: `tag:${tag}` }).catch(missing);
}

test('1,000 racing runs, imports, tags, uploads, deletions and collections lose nothing that was accepted', async () => {
  await using registry = await FakeRegistry.start();
  const below = tarLayer([{ path: 'below', content: 'of all' }]);
  for (let index = 0; index < 5; index += 1) {
    registry.addImage([below, tarLayer([{ path: 'own', content: `${index}` }])], { tag: `${index}` });
  }
  const importer = imageImporter({ registries: {}, credentials: {} });
  await using bench = await openEngine({ concurrency: 8, importer });
  const { engine, store, base } = bench;
  await engine.tags.set(base.uuid, { tag: 'keep' });
  const random = seeded(7);
  const waiting = Array.from({ length: 1_000 }, (_, index) => ({ dice: random(), index }));
  const worker = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { dice, index } = next;
      await act(bench, dice, { index, reference: `${registry.host}/app:${index % 5}` });
    }
  };
  await Promise.all(Array.from({ length: 24 }, worker));
  assert.equal(engine.activeCount, 0);
  assert.equal(bench.driver.live, 0);
  const { checks } = await engine.system.doctor({ verify: true });
  assert.deepEqual(
    checks.filter(({ status }) => status === 'failed'),
    [],
  );
  for (const { uuid } of await engine.images.list({ limit: 1_000 })) await engine.files.list(uuid, { path: '/' });
  // Nothing leaks: without images other than the base, nothing that they needed is left.
  for (const { uuid } of await engine.images.list({ limit: 1_000 })) {
    if (uuid !== base.uuid) await engine.images.delete(uuid, { cascade: true }).catch(() => {});
  }
  await engine.system.gc({ older_than_days: -1 });
  assert.deepEqual(await readdir(join(bench.directory, 'layers')), base.layers);
  assert.deepEqual(await readdir(join(bench.directory, 'files')), []);
  assert.deepEqual(await readdir(store.tmp), []);
});

test('200 followers of one log see all of it while it is written', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const { uuid } = await engine.runs.start(
    script(bench, 'flood 500000', { truncate_output_at: 1_000_000, disposable: true }),
  );
  const logs = await Promise.all(
    Array.from({ length: 200 }, () => collectEvents(engine.operations.events(uuid, { follow: true }))),
  );
  const bytes = logs.map((log) =>
    log.reduce((sum, event) => sum + (event.type === 'stdout' ? event.data.value.length : 0), 0),
  );
  assert.deepEqual([...new Set(bytes)], [500_000]);
});
