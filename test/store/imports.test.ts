import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { Store } from '../../src/store/store.ts';
import { scratch } from './bench.ts';

const layers = ['a', 'b'].map((digit) => digit.repeat(64));
const config = { ...EMPTY_IMAGE_CONFIG, env: { LANG: 'C' } };

test('an import is remembered across openings of the store, the newest of its source', async () => {
  await using place = await scratch();
  {
    await using store = await Store.open(place.path);
    store.imports.remember('sha256:1 linux/amd64', { layers: [], config });
    store.imports.remember('sha256:1 linux/amd64', { layers, config });
  }
  await using store = await Store.open(place.path);
  assert.deepEqual(store.imports.find('sha256:1 linux/amd64'), { layers, config });
  assert.equal(store.imports.find('sha256:1 linux/arm64'), undefined);
});

test('no more than a thousand are kept', async () => {
  await using place = await scratch();
  await using store = await Store.open(place.path);
  store.transaction(() => {
    for (let index = 0; index < 1_010; index += 1) store.imports.remember(`${index}`, { layers, config });
  });
  const kept = Array.from({ length: 1_010 }, (_, index) => store.imports.find(`${index}`)).filter(Boolean);
  assert.equal(kept.length, 1_000);
});
