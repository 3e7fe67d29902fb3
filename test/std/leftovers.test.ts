import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdleMemoryTrimmer } from '../../src/std/memory.ts';

const MIB = 1024 * 1024;

test('leftovers are looked for again only when there are more than at the last rest', () => {
  let [resident, frees] = [100 * MIB, 0];
  const free = (): void => {
    frees += 1;
    resident = 60 * MIB;
  };
  const trimmer = new IdleMemoryTrimmer(() => resident, free);
  trimmer.trim();
  assert.equal(frees, 1);
  trimmer.trim();
  resident = 76 * MIB - 1;
  trimmer.trim();
  assert.equal(frees, 1, 'too little for a pause');
  resident += 1;
  trimmer.trim();
  assert.equal(frees, 2);
});

// The only test of the real function. In a separate process, so that no other code allocates or frees memory meanwhile.
test('what is left is given back to the system at once', () => {
  const trimmer = new IdleMemoryTrimmer();
  const before = useAndLeave(200);
  trimmer.trim();
  const given = before - process.memoryUsage.rss();
  assert.ok(given > 100 * MIB, `${(given / MIB).toFixed(0)} of 200 MiB were given back`);
});

/** Allocates memory and releases it; returns the resident bytes while it was in use. */
function useAndLeave(mib: number): number {
  const used = Array.from({ length: mib }, (_, index) => Buffer.alloc(MIB, index + 1));
  const resident = process.memoryUsage.rss();
  return used.length === mib ? resident : 0;
}
