import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commitChanges } from '../../../src/engine/run/commit.ts';
import { ReaderPool } from '../../../src/erofs/reader-pool.ts';
import { openStore } from '../../store/bench.ts';

test('changes that cannot be stored are let go of, so that a guest that goes on does not wait for a reader', async () => {
  await using bench = await openStore();
  await using readers = new ReaderPool();
  let released = false;
  async function* changes(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.alloc(512);
    } finally {
      released = true;
    }
  }
  const lower = [{ path: `${bench.directory}/no-such-layer`, bytes: 4_096 }];
  const place = { store: bench.store, readers, lower, bytesMax: 1_000_000 };
  await assert.rejects(commitChanges(changes(), place, AbortSignal.timeout(30_000)));
  assert.ok(released);
});
