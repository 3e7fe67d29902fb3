import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { parseArguments } from '../../src/tools/support/arguments.ts';
import { defineTool } from '../../src/tools/support/tool.ts';

const tool = defineTool({
  name: 'sample',
  title: 'Sample',
  description: 'Free.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  aliases: { type: 'kind' },
  input: z.object({
    kind: z.enum(['a', 'b']).optional(),
    limit: z.int().min(1).max(10).default(5),
    deep: z.boolean().default(false),
    names: z.array(z.string()).optional(),
    text: z.string().optional(),
    map: z.record(z.string(), z.string()).optional(),
  }),
  output: z.object({}),
  handle: async () => ({}),
  text: () => '',
});

const parse = (raw: unknown): Record<string, unknown> => parseArguments(tool, raw).input;

test('defaults are filled in and null means not given', () => {
  assert.deepEqual(parse({}), { limit: 5, deep: false });
  assert.deepEqual(parse({ kind: null, limit: null }), { limit: 5, deep: false });
  assert.deepEqual(parse(undefined), { limit: 5, deep: false });
});

test('texts that mean numbers, switches, lists and objects are read so, but only where those are wanted', () => {
  assert.deepEqual(parse({ limit: '7', deep: 'true', names: '["x","y"]', map: '{"a":"b"}', text: '7' }), {
    limit: 7,
    deep: true,
    names: ['x', 'y'],
    map: { a: 'b' },
    text: '7',
  });
  assert.deepEqual(parse({ names: 'one' })['names'], ['one']);
  assert.deepEqual(parse({ names: [1, true] })['names'], ['1', 'true']);
  assert.deepEqual(parse({ map: { PORT: 8080, CI: true, X: 'y' } })['map'], { PORT: '8080', CI: 'true', X: 'y' });
  assert.deepEqual(parse({ text: 7 })['text'], '7');
});

test('every wrong argument is named once, without what was in it', () => {
  assert.throws(
    () => parse({ limit: 11, kind: 'secret-value', names: [{}] }),
    (error: Error) => {
      assert.match(error.message, /^sample: argument "kind": .*; argument "limit": .*; argument "names\.0": /u);
      assert.doesNotMatch(error.message, /secret-value/u);
      return true;
    },
  );
});

test('former names are understood, unknown ones named with what was probably meant', () => {
  assert.equal(parse({ type: 'b' })['kind'], 'b');
  assert.equal(parseArguments(tool, { limt: 1 }).remark, "ignored argument 'limt'; did you mean limit?");
  assert.equal(parseArguments(tool, { zzz: 1 }).remark, "ignored argument 'zzz'");
  assert.throws(
    () => parse({ limit: 11, knd: 'a' }),
    /argument "limit": .*; ignored argument 'knd'; did you mean kind\?/u,
  );
  assert.equal(parseArguments(tool, { _meta: 1, limit: 1 }).remark, undefined);
  assert.equal(parseArguments(tool, { ['x'.repeat(10_000)]: 1 }).remark?.length, "ignored argument ''".length + 64);
});
