import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InstanceResult } from '../../src/contract/run.ts';
import { openEngine, resultOf, run, script, seen, type EngineBench } from './bench.ts';

const MIB = 1024 * 1024;
const TAIL_BYTES = 64 * 1024;

/** Returns the result of an operation with this many bytes from both ends of its output. */
async function ends({ engine }: EngineBench, operation: string, bytes: number): Promise<InstanceResult> {
  return resultOf(await engine.operations.get(operation, { output_bytes: bytes }));
}

async function ran(bench: EngineBench, command: string, truncate_output_at?: number): Promise<string> {
  const options = { disposable: true, ...(truncate_output_at !== undefined && { truncate_output_at }) };
  return (await run(bench.engine, script(bench, command, options))).uuid;
}

test('an operation comes with the two ends of its output, and how long each stream is', async () => {
  await using bench = await openEngine();
  const uuid = await ran(bench, 'echo 0123456789; echo error >&2');
  assert.deepEqual(await ends(bench, uuid, 6).then(({ stdout, stderr }) => ({ stdout, stderr })), {
    stdout: {
      value: '012345',
      encoding: 'ascii',
      truncated: true,
      size: 11,
      tail: { value: '56789\n', encoding: 'ascii' },
    },
    stderr: { value: 'error\n', encoding: 'ascii', truncated: false, size: 6 },
  });
  const { stdout, state } = await ends(bench, uuid, 0);
  assert.deepEqual(stdout, { value: '', encoding: 'ascii', truncated: true, size: 11 });
  assert.equal(state?.exit_code, 0);
  const whole = { value: '0123456789\n', encoding: 'ascii', truncated: false, size: 11 };
  for (const bytes of [11, 12, MIB]) assert.deepEqual((await ends(bench, uuid, bytes)).stdout, whole);
});

test('the end of the output is the real one where its middle was dropped, and does not reach back over the gap', async () => {
  await using bench = await openEngine();
  const uuid = await ran(bench, `flood ${20 * MIB}; echo the end`);
  const { stdout } = await ends(bench, uuid, 20);
  assert.deepEqual([stdout?.value, stdout?.size, stdout?.truncated], ['x'.repeat(20), 20 * MIB + 8, true]);
  assert.equal(stdout?.tail?.value, `${'x'.repeat(12)}the end\n`);
  const { stdout: more } = await ends(bench, uuid, 2 * TAIL_BYTES);
  assert.equal(more?.value.length, 2 * TAIL_BYTES);
  assert.equal(more?.tail?.value, `${'x'.repeat(TAIL_BYTES - 8)}the end\n`, 'only what was kept from the end');
});

test('ends reach beyond truncate_output_at, because the log keeps more than that', async () => {
  await using bench = await openEngine();
  const uuid = await ran(bench, 'flood 100; echo the end', 50);
  const { stdout } = await ends(bench, uuid, 60);
  assert.deepEqual([stdout?.value, stdout?.size], ['x'.repeat(60), 108]);
  assert.equal(stdout?.tail?.value, `${'x'.repeat(52)}the end\n`);
  assert.equal((await ends(bench, uuid, 1_000)).stdout?.truncated, false);
  assert.equal(
    resultOf(await bench.engine.operations.get(uuid)).stdout?.value,
    'x'.repeat(50),
    'the default is as ever',
  );
});

test('of a running command the ends are those so far', async () => {
  await using bench = await openEngine();
  const stdin = { value: '', close: false };
  const { uuid } = await bench.engine.runs.start(script(bench, 'echo started; cat', { stdin, disposable: true }));
  await seen(bench.engine, uuid, ({ type }) => type === 'stdout');
  const { stdout } = await ends(bench, uuid, 3);
  assert.deepEqual([stdout?.value, stdout?.tail?.value, stdout?.size], ['sta', 'ed\n', 8]);
  await bench.engine.operations.cancel(uuid);
});

test("a subprocess's result has exactly its truncate_output_at, however its output was divided", async () => {
  await using bench = await openEngine();
  const { engine } = bench;
  const stdin = { value: '', close: false };
  const { uuid } = await engine.runs.start(script(bench, 'cat', { stdin, disposable: true }));
  await seen(engine, uuid, ({ type }) => type === 'spawn');
  const { spid } = await engine.processes.start(uuid, { command: 'flood', args: ['200000'], truncate_output_at: 50 });
  await seen(engine, uuid, (event) => event.type === 'exit' && event.spid === spid);
  assert.equal((await engine.processes.get(uuid, spid)).stdout?.value, 'x'.repeat(50));
  await engine.operations.cancel(uuid);
});
