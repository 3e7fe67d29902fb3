import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { Places } from '../../src/engine/workers/places.ts';

test('who has the fewest places gets the next one, and no project gets all', async () => {
  const places = new Places({ atOnce: 3, perProject: 2, waitingPerProject: 10 });
  const order: string[] = [];
  const enter = async (project: string): Promise<Disposable> => {
    const place = await places.enter(project, undefined);
    order.push(project);
    return place;
  };
  const greedy = Array.from({ length: 5 }, () => enter('greedy'));
  await Promise.all(greedy.slice(0, 2));
  const modest = [enter('modest'), enter('modest')];
  const first = await modest[0];
  assert.deepEqual(order, ['greedy', 'greedy', 'modest'], 'the third place is not for greedy, though it came first');
  first?.[Symbol.dispose]();
  await modest[1];
  (await greedy[0])?.[Symbol.dispose]();
  await greedy[2];
  assert.deepEqual(order, ['greedy', 'greedy', 'modest', 'modest', 'greedy']);
});

test('what waits is bounded per project, and leaves the line when nobody wants it any more', async () => {
  const places = new Places({ atOnce: 2, perProject: 1, waitingPerProject: 1 });
  const place = await places.enter('one', undefined);
  const leaves = new AbortController();
  const waiting = places.enter('one', leaves.signal);
  await assert.rejects(places.enter('one', undefined), (error) => isFault(error, 'INSPECTION_BUSY'));
  const other = await places.enter('other', undefined);
  leaves.abort(new Error('left'));
  await assert.rejects(waiting, { message: 'left' });
  const next = places.enter('one', undefined);
  place[Symbol.dispose]();
  place[Symbol.dispose]();
  (await next)[Symbol.dispose]();
  other[Symbol.dispose]();
});
