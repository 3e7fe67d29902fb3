import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from '../../src/std/event-loop.ts';

test('one piece per turn of the event loop, in order, and others in between', async () => {
  const turns = new Turns();
  const done: string[] = [];
  const pieces = ['a', 'b', 'c'].map(async (name) => {
    await turns.take();
    done.push(name);
  });
  for (let turn = 1; turn <= 4; turn += 1) {
    await new Promise(setImmediate);
    done.push(String(turn));
  }
  await Promise.all(pieces);
  const order = done.join('');
  assert.deepEqual(
    done.filter((name) => /[abc]/u.test(name)),
    ['a', 'b', 'c'],
  );
  assert.match(order, /a.*\d.*b.*\d.*c/u);
  await turns.take();
});
