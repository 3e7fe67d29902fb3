import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { readBoundedJson } from '../../src/std/json-bounds.ts';

const SHAPE = { valuesMax: 10, membersMax: 4, depthMax: 3 };

/** Splits text anywhere, including within escapes and multi-byte characters. */
function cut(text: string, size: number): Uint8Array[] {
  const bytes = Buffer.from(text);
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
}

test('what is counted is what the JSON holds, wherever it is cut', async () => {
  const values = fc.jsonValue({ maxDepth: 4 });
  await fc.assert(
    fc.asyncProperty(values, fc.integer({ min: 1, max: 7 }), async (value, size) => {
      const text = JSON.stringify(value);
      const open = { valuesMax: Infinity, membersMax: Infinity, depthMax: Infinity };
      assert.equal(await readBoundedJson(cut(text, size), open), text);
      const depthMax = depthOf(value);
      const exact = { ...open, depthMax };
      assert.equal(await readBoundedJson(cut(text, size), exact), text);
      if (depthMax > 0) {
        await assert.rejects(readBoundedJson(cut(text, size), { ...open, depthMax: depthMax - 1 }), {
          what: 'levels of nesting',
        });
      }
    }),
  );
});

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

const REFUSED: Readonly<Record<string, string>> = {
  '[1,2,3,4,5,6]': 'values in one list or object',
  '[[1,2],[1,2],[1,2],[1,2]]': 'values',
  '[[[[]]]]': 'levels of nesting',
  [JSON.stringify({ a: '"', b: '\\', c: 1, d: 2, e: 3, f: 4 })]: 'values in one list or object',
};

for (const [text, what] of Object.entries(REFUSED)) {
  test(`${text} is refused for its ${what}`, async () => {
    for (const size of [1, 2, 3, 100]) await assert.rejects(readBoundedJson(cut(text, size), SHAPE), { what });
  });
}

test('brackets and commas in strings do not count', async () => {
  const text = JSON.stringify({ a: '[{,"\\'.repeat(100) });
  assert.equal(await readBoundedJson(cut(text, 3), SHAPE), text);
});
