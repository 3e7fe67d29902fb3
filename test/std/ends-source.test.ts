import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endsSource } from '../../src/std/ends-source.ts';

async function* counted(log: string[]): AsyncGenerator<number> {
  try {
    yield 1;
    yield 2;
  } finally {
    await Promise.resolve();
    log.push('ended');
  }
}

/** Draws from a source that has begun. */
async function open(log: string[]): Promise<AsyncIterator<number>> {
  const source = counted(log);
  const first = await source.next();
  async function* rest(): AsyncGenerator<number> {
    if (!first.done) yield first.value;
    yield* source;
  }
  return endsSource(rest(), source)[Symbol.asyncIterator]();
}

test('a reader that leaves before its first value ends what the values come from', async () => {
  const log: string[] = [];
  const iterator = await open(log);
  assert.deepEqual(await iterator.return?.(), { done: true, value: undefined });
  assert.deepEqual(log, ['ended']);
  assert.equal((await iterator.next()).done, true);
});

test('a reader that leaves half-way, or reads all, ends it once', async () => {
  const half: string[] = [];
  const iterator = await open(half);
  assert.deepEqual(await iterator.next(), { done: false, value: 1 });
  await iterator.return?.();
  assert.deepEqual(half, ['ended']);

  const whole: string[] = [];
  const values: number[] = [];
  const all = await open(whole);
  for (let next = await all.next(); !next.done; next = await all.next()) values.push(next.value);
  await all.return?.();
  assert.deepEqual([values, whole], [[1, 2], ['ended']]);
});
