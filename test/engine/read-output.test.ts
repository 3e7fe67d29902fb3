import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readOutput } from '../../src/tools/output.ts';
import { openEngine, run, script } from './bench.ts';

const KEPT = 8 * 1024 * 1024;
const TAIL = 64 * 1024;

test('what a run put out can be paged: beyond what it asked to be shown, and the end of what was too long to keep', async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const read = (uuid: string, offset: number, length: number): ReturnType<typeof readOutput> =>
    readOutput(engine, uuid, { stream: 'stdout', offset, length }, AbortSignal.timeout(20_000));
  const text = async (uuid: string, offset: number, length: number): Promise<string> =>
    (await read(uuid, offset, length)).bytes.toString();

  const short = await run(
    engine,
    script(bench, 'echo abc; flood 100; echo xyz', { truncate_output_at: 2, disposable: true }),
  );
  assert.equal((await read(short.uuid, 0, 1)).totalBytes, 108);
  assert.equal(await text(short.uuid, 1, 4), 'bc\nx');
  assert.equal(await text(short.uuid, -4, 100), 'xyz\n');
  assert.equal(await text(short.uuid, 200, 10), '');

  const bytes = KEPT + 1_000_000;
  const long = await run(engine, script(bench, `flood ${bytes}; echo the end`, { disposable: true }));
  assert.equal((await read(long.uuid, 0, 1)).totalBytes, bytes + 8);
  assert.equal((await read(long.uuid, 0, KEPT * 2)).bytes.length, KEPT);
  assert.equal(await text(long.uuid, -8, 100), 'the end\n');
  assert.equal(await text(long.uuid, bytes, 100), 'the end\n');
  assert.equal((await read(long.uuid, -TAIL * 2, TAIL * 2)).bytes.length, TAIL, 'what lies between is gone');
  assert.equal(await text(long.uuid, KEPT + 10, 10), '');
});
