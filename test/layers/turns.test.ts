import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { Scratch } from '../support/layers.ts';
import { startCpuWatch } from '../support/time/stopwatch.ts';
import { streamOf, tarOf } from '../support/tar.ts';

const ENTRIES = 20_000;
/** Computing time of one turn of the event loop, in which nobody else is answered. */
const TURN_MS_MAX = 250;

test(`a layer of ${ENTRIES} entries that come at once is built in turns`, async () => {
  await using scratch = await Scratch.create();
  const tar = tarOf(Array.from({ length: ENTRIES }, (_, at) => ({ path: `many/${at}` })));
  let isBuilt = false;
  const building = buildLayer(streamOf(tar, tar.length), scratch.path()).finally(() => (isBuilt = true));
  let longestMs = 0;
  for (;;) {
    const cpuMs = startCpuWatch();
    await setImmediate();
    if (isBuilt) break;
    longestMs = Math.max(longestMs, cpuMs());
  }
  assert.equal((await building).entries, ENTRIES);
  assert.ok(longestMs < TURN_MS_MAX, `${longestMs} ms in one turn`);
});
