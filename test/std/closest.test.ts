import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closestOf } from '../../src/contract/closest.ts';

test('closestOf finds misspelt, cut and abbreviated names, closest first, and nothing far', () => {
  assert.deepEqual(closestOf('tag_prefx', ['tag', 'tag_prefix', 'limit']), ['tag_prefix']);
  assert.deepEqual(closestOf('image_id', ['image', 'command']), ['image']);
  assert.deepEqual(closestOf('cmd', ['command', 'cwd', 'image']), ['command', 'cwd']);
  assert.deepEqual(closestOf('wat', ['image', 'command']), []);
  assert.deepEqual(closestOf('rihc', ['rich', 'common/rich']), ['rich']);
  assert.deepEqual(closestOf('x'.repeat(100_000), ['x', 'y']), []);
});
