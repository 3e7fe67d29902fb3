import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_IMAGE_CONFIG, type ImportProgress } from '../../src/contract/image.ts';
import type { Importer } from '../../src/images/import/importer.ts';
import { settlesWithin } from '../../src/std/abort.ts';
import { runHere } from '../support/cli-bench.ts';
import { connectMcp } from '../support/mcp/client.ts';
import { serveBench } from '../support/servers/served-engine.ts';
import { followed } from '../engine/bench.ts';
import { addLayer } from '../store/bench.ts';

const FIGURES: ImportProgress = { layers_done: 1, layers_total: 2, done_bytes: 5e6, total_bytes: 1e7 };
const LINE = 'layers 1/2, 5.0 of 10.0 MB';
const REFERENCE = 'registry.example/library/thing:1';

/** Reports the same progress again and again until `seen` resolves: readers may leave out what follows too soon. */
function importer(seen: Promise<void>): Importer {
  return {
    fromRegistry: async (_registry, { store, progress }) => {
      do progress(LINE, FIGURES);
      while (!(await settlesWithin(seen, 20)));
      return { layers: [(await addLayer(store)).digest], config: EMPTY_IMAGE_CONFIG };
    },
    fromArchive: () => Promise.reject(new Error('this test imports from a registry')),
  };
}

test('the figures of an import reach its events, live and replayed', async () => {
  await using served = await serveBench({ importer: importer(Promise.resolve()) });
  const { engine } = served.bench;
  const { uuid } = await engine.images.import({ registry: { url: REFERENCE } });
  for (const events of [await followed(engine, uuid), await followed(engine, uuid)]) {
    const [first] = events;
    assert.ok(first?.type === 'stdout');
    assert.deepEqual(first.data.progress, FIGURES);
    assert.match(first.data.value, new RegExp(`^${LINE}\n`, 'u'));
  }
});

test('contree import draws the figures of the engine as a bar', async () => {
  const seen = Promise.withResolvers<void>();
  await using served = await serveBench({ importer: importer(seen.promise) });
  const onStderr = (text: string): void => {
    if (text.includes(`[============            ]  50 %  ${LINE}`)) seen.resolve();
  };
  const { code, stderr } = await runHere(served.bench.directory, ['import', REFERENCE], { terminal: true, onStderr });
  assert.equal(code, 0, stderr);
});

test('import_image tells its client the line in a progress notification', async () => {
  const seen = Promise.withResolvers<void>();
  await using served = await serveBench({ importer: importer(seen.promise) });
  await using mcp = await connectMcp(served.bench.engine);
  const onprogress = ({ message = '' }): void => {
    if (message === `EXECUTING · ${LINE}`) seen.resolve();
  };
  const { structured } = await mcp.call('import_image', { registry_url: REFERENCE }, { onprogress });
  assert.equal(structured.status, 'SUCCESS');
});
