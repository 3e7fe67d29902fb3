import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oncePer } from '../../src/std/once-per.ts';

test('what is made of an object is made once, and of an equal one again', () => {
  let made = 0;
  const named = oncePer(({ name }: { readonly name: string }) => ({ text: name.toUpperCase(), number: (made += 1) }));
  const [one, other] = [{ name: 'a' }, { name: 'a' }];
  const first = named(one);
  assert.deepEqual(first, { text: 'A', number: 1 });
  assert.equal(named(one), first);
  assert.deepEqual(named(other), { text: 'A', number: 2 });
});
