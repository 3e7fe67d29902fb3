import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Admission } from '../../src/engine/admission.ts';

const never = new AbortController().signal;

test('enter() lets in what fits and keeps the order of the rest', async () => {
  const admission = new Admission({ cpus: 2, memoryMib: 100 });
  const order: string[] = [];
  const enter = async (name: string, cpus: number): Promise<Disposable> => {
    const place = await admission.enter({ cpus, memoryMib: 1 }, never);
    order.push(name);
    return place;
  };
  const first = await enter('first', 1);
  const big = enter('big', 2);
  const small = enter('small', 1);
  await new Promise(setImmediate);
  assert.deepEqual(order, ['first'], 'small would fit, but it does not overtake');
  assert.equal(admission.waiting, 2);
  first[Symbol.dispose]();
  const second = await big;
  assert.deepEqual(order, ['first', 'big']);
  second[Symbol.dispose]();
  (await small)[Symbol.dispose]();
  assert.deepEqual([admission.admitted, admission.waiting], [0, 0]);
});

test('what is larger than everything runs alone', async () => {
  const admission = new Admission({ cpus: 2 });
  const huge = await admission.enter({ cpus: 64 }, never);
  const next = admission.enter({ cpus: 1 }, never);
  await new Promise(setImmediate);
  assert.equal(admission.admitted, 1);
  huge[Symbol.dispose]();
  (await next)[Symbol.dispose]();
});

test('leaving the line lets the next one in', async () => {
  const admission = new Admission({ cpus: 2 });
  const one = await admission.enter({ cpus: 1 }, never);
  const stop = new AbortController();
  const blocked = admission.enter({ cpus: 2 }, stop.signal);
  const behind = admission.enter({ cpus: 1 }, never);
  stop.abort(new Error('changed my mind'));
  await assert.rejects(blocked, /changed my mind/u);
  const two = await behind;
  await assert.rejects(admission.enter({ cpus: 1 }, stop.signal), /changed my mind/u);
  one[Symbol.dispose]();
  two[Symbol.dispose]();
  assert.deepEqual([admission.admitted, admission.waiting], [0, 0]);
});
