import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from '../../src/std/event-loop.ts';

test('a long computation lets other work in, a short one does not stop', async () => {
  const pace = new Pace();
  for (let step = 0; step < 255; step++) assert.equal(pace.due(), false);
  let others = 0;
  setImmediate(() => others++);
  // The clock advances only here, so this ends once the turn has lasted long enough.
  while (!pace.due()) assert.equal(others, 0);
  await pace.rest();
  assert.equal(others, 1);
});
