import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Grouped } from '../../src/cluster/queue/grouped.ts';

/** Calls that a test answers. */
class Calls {
  readonly groups: number[][] = [];
  readonly #answers: { resolve: (results: number[]) => void; reject: (error: Error) => void }[] = [];

  readonly call = async (items: readonly number[]): Promise<number[]> => {
    this.groups.push([...items]);
    const { promise, resolve, reject } = Promise.withResolvers<number[]>();
    this.#answers.push({ resolve, reject });
    return promise;
  };

  /** Answers the oldest call: each item tenfold, or an error. Waits until what follows is under way. */
  async answer(error?: Error): Promise<void> {
    const oldest = this.groups.length - this.#answers.length;
    const answer = this.#answers.shift();
    if (error === undefined) answer?.resolve((this.groups[oldest] ?? []).map((item) => 10 * item));
    else answer?.reject(error);
    await new Promise(setImmediate);
  }
}

const TERMS = {
  atOnce: 1,
  weightMax: 100,
  weightOf: (item: number) => item,
  isCommon: (error: unknown) => error instanceof TypeError,
};

test('one alone goes at once; what comes meanwhile goes together, each with its own answer', async () => {
  const calls = new Calls();
  const grouped = new Grouped(calls.call, TERMS);
  const answers = Promise.all([1, 2, 3].map((item) => grouped.run(item)));
  assert.deepEqual(calls.groups, [[1]]);
  await calls.answer();
  assert.deepEqual(calls.groups, [[1], [2, 3]]);
  await calls.answer();
  assert.deepEqual(await answers, [10, 20, 30]);
  const later = grouped.run(4);
  assert.deepEqual(calls.groups.at(-1), [4]);
  await calls.answer();
  assert.equal(await later, 40);
});

test('a group has a largest weight, and one that weighs more goes alone', async () => {
  const calls = new Calls();
  const grouped = new Grouped(calls.call, TERMS);
  const answers = Promise.all([1, 60, 40, 1, 500, 2].map((item) => grouped.run(item)));
  for (let count = 0; count < 5; count += 1) await calls.answer();
  assert.deepEqual(calls.groups, [[1], [60, 40], [1], [500], [2]]);
  await answers;
});

test('several groups are under way where that is allowed', () => {
  const calls = new Calls();
  const grouped = new Grouped(calls.call, { ...TERMS, atOnce: 2 });
  for (const item of [1, 2, 3]) void grouped.run(item);
  assert.deepEqual(calls.groups, [[1], [2]]);
});

test('an item that is refused does not spoil the others; an error of all is told to all', async () => {
  const calls = new Calls();
  const grouped = new Grouped(calls.call, TERMS);
  const all = Promise.allSettled([1, 2, 3, 4].map((item) => grouped.run(item)));
  await calls.answer();
  await calls.answer(new Error('3 is refused'));
  await calls.answer();
  await calls.answer(new Error('3 is refused'));
  await calls.answer();
  assert.deepEqual(calls.groups, [[1], [2, 3, 4], [2], [3], [4]]);
  assert.deepEqual(
    (await all).map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
  );
  const unreachable = Promise.allSettled([1, 2, 3].map((item) => grouped.run(item)));
  await calls.answer();
  await calls.answer(new TypeError('the server is away'));
  assert.deepEqual(
    (await unreachable).map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  );
});
