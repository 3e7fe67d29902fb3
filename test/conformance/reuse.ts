import assert from 'node:assert/strict';
import type { ConTree } from '../../src/contract/contree.ts';
import { run, stdoutOf } from '../engine/bench.ts';

/** Requirements for the reuse of recorded results, of every implementation of `ConTree`. */
export async function reuse({ contree, base }: { readonly contree: ConTree; readonly base: string }): Promise<void> {
  const request = { command: 'echo out; echo x > /new', shell: true, image: base };
  const first = await run(contree, request);
  const { uuid, reused } = await contree.runs.start({ ...request, reuse: true });
  assert.equal(reused, true);
  const second = await contree.operations.get(uuid);
  assert.deepEqual([second.status, second.reused, second.reused_operation], ['SUCCESS', true, first.uuid]);
  assert.deepEqual([second.result?.image, stdoutOf(second)], [first.result?.image, 'out\n']);
  assert.equal((await contree.runs.start({ ...request, reuse: 'network', command: 'false' })).reused, undefined);
}
