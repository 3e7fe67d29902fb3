import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { soak } from '../../scripts/soak.ts';

test('templates boot and runs start beside a busy host; a boot that hangs is tried again', async (t) => {
  // A small sample of `node scripts/soak.ts`.
  const log = (line: string): void => t.diagnostic(line);
  const result = await soak({ boots: 3, restores: 20, load: availableParallelism(), log });
  assert.equal(result.bootsFailed, 0);
  assert.equal(result.restoresFailed, 0);
});
