import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import type { Layer } from '../../src/store/layers.ts';
import { once } from '../engine/bench.ts';
import { addLayer, openStore } from './bench.ts';

const PROJECTS = ['default', 'other'] as const;
const LAYERS = 4;
/** Size of a layer of `addLayer`. */
const LAYER_BYTES = 4_096;

/** Step of a random history of two projects that share layers. */
const STEP = fc.record({
  kind: fc.constantFrom('create', 'create', 'child', 'delete', 'upload', 'merge', 'collect'),
  project: fc.constantFrom(...PROJECTS),
  layers: fc.array(fc.nat(LAYERS - 1), { minLength: 1, maxLength: 3 }),
  pick: fc.nat(1_000),
});
type Step = typeof STEP extends fc.Arbitrary<infer Value> ? Value : never;

test('in every history: the bytes of a project are those of its layers, each once, and of its uploads', async () => {
  await using bench = await openStore();
  const { store } = bench;
  const publish = (): Promise<Layer[]> =>
    Promise.all(Array.from({ length: LAYERS }, (_, index) => addLayer(store, `layer ${index}`)));
  let layers = await publish();
  const sizeOf = (project: string): number => {
    const { images, files } = store.forProject(project);
    const digests = images.list({ limit: 1_000 }).flatMap(({ uuid }) => images.get(uuid).layers);
    const uploads = files.list({ limit: 1_000 }).map(({ size }) => size);
    return uploads.reduce((sum, size) => sum + size, new Set(digests).size * LAYER_BYTES);
  };
  const step = async ({ kind, project, layers: chosen, pick }: Step): Promise<void> => {
    const view = store.forProject(project);
    const digests = chosen.map((index) => layers[index]?.digest ?? '');
    const images = view.images.list({ limit: 1_000 }).map(({ uuid }) => uuid);
    const picked = images[pick % Math.max(1, images.length)];
    const config = EMPTY_IMAGE_CONFIG;
    if (kind === 'create') view.images.create({ layers: digests, config });
    if (kind === 'child' && picked !== undefined) view.images.create({ layers: digests, parent: picked, config });
    if (kind === 'upload') await view.files.write(once('x'.repeat(1 + (pick % 9))));
    if (kind === 'delete' && picked !== undefined) {
      view.images.delete(picked, { cascade: true, usedBy: () => undefined });
    }
    if (kind === 'merge' && picked !== undefined) store.stacks.replace(view.images.get(picked).layers, digests);
    if (kind !== 'collect') return;
    await store.gc({ dryRun: false, unusedSinceMs: 0, bytesMax: pick * 20, usedBy: () => undefined });
    layers = await publish();
  };
  const property = fc.asyncProperty(fc.array(STEP, { maxLength: 10 }), async (steps) => {
    for (const one of steps) {
      await step(one);
      for (const project of PROJECTS) assert.equal(store.quotas.bytesOf(project), sizeOf(project), project);
    }
  });
  await fc.assert(property, { numRuns: 12 });
});

test('quotas that were set are there after a restart, and an empty one is gone', async () => {
  await using bench = await openStore();
  const { quotas } = bench.store;
  quotas.set('alpha', { runs: 2, storage_bytes: 10 });
  quotas.set('beta', { cpus: 1 });
  quotas.set('beta', {});
  assert.deepEqual([...quotas.all()], [['alpha', { runs: 2, storage_bytes: 10 }]]);
  assert.deepEqual(quotas.projects(), ['alpha']);
});
