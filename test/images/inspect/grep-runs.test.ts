import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RE2JS } from 're2js';
import { compilePatterns, Text } from '../../../src/images/inspect/grep/pattern.ts';
import { requiredRuns } from '../../../src/images/inspect/grep/runs.ts';
import { Random } from '../../support/random.ts';

const sources = (...patterns: string[]): string[] | undefined => requiredRuns(patterns)?.map(({ source }) => source);

test('requiredRuns finds the stretch that every match holds', () => {
  assert.deepEqual(sources('return'), ['return']);
  assert.deepEqual(sources(String.raw`def \w+_test\(`), [String.raw`[0-9A-Za-z_]_test\(`]);
  assert.deepEqual(sources('colou?r'), ['colo']);
  assert.deepEqual(sources('ab+c'), ['ab']);
  assert.deepEqual(sources('[0-9]{4}-[0-9]{2}'), ['[0-9][0-9][0-9][0-9]-[0-9][0-9]']);
  assert.deepEqual(sources('foo(bar|baz)qux'), ['foo']);
  assert.deepEqual(sources('^import$'), ['import']);
  assert.deepEqual(sources('foo|bar', 'quux'), ['foo', 'bar', 'quux']);
});

test('requiredRuns claims nothing where it is not certain', () => {
  for (const pattern of [
    '.*',
    'a',
    'a*',
    '(?i)foo',
    '[^a]bc?',
    String.raw`\x41bc`,
    String.raw`\Qabc\E`,
    'foo|.',
    '(abc',
    'é',
  ]) {
    assert.equal(sources(pattern), undefined, pattern);
  }
});

test('what nextPlace passes over never matches: the same lines as the engine alone, for random patterns and texts', () => {
  const random = new Random(11);
  const parts = [
    'a',
    'b',
    'ab',
    'é',
    '.',
    'a?',
    'b*',
    'a+',
    '(a|b)',
    '(ab)?',
    '[ab]',
    '[^a]',
    String.raw`\w`,
    String.raw`\d+`,
    'a{2}',
    'b{1,3}',
    '^',
    '$',
    String.raw`\b`,
    '|',
    'K',
    's',
    ' ',
  ] as const;
  const letters = ['a', 'b', 'A', 'B', ' ', '1', 'é', '\u212a', '\u017f', 'k', 'S', '\n', '\n'] as const;
  let checked = 0;
  for (let round = 0; round < 4_000; round++) {
    const pattern = Array.from({ length: 1 + random.below(6) }, () => parts[random.below(parts.length)]).join('');
    const insensitive = random.below(2) === 0;
    const text = Array.from({ length: random.below(60) }, () => letters[random.below(letters.length)]).join('');
    const expected = linesOf(text).filter((line) => engine(pattern, insensitive)?.test(line) === true);
    if (engine(pattern, insensitive) === undefined) continue;
    const { expression, nextPlace } = compilePatterns([pattern], insensitive ? 'insensitive' : 'sensitive');
    const found: string[] = [];
    const bytes = Buffer.from(text);
    for (let place = nextPlace(new Text(bytes), 0); place >= 0;) {
      const start = place === 0 ? 0 : bytes.lastIndexOf(10, place - 1) + 1;
      const feed = bytes.indexOf(10, start);
      const end = feed < 0 ? bytes.length : feed;
      const line = bytes.toString('utf8', start, end);
      if (expression.test(line)) found.push(line);
      place = end + 1 < bytes.length ? nextPlace(new Text(bytes), end + 1) : -1;
    }
    assert.deepEqual(found, expected, JSON.stringify({ pattern, insensitive, text }));
    checked += 1;
  }
  assert.ok(checked > 2_000);
});

function engine(pattern: string, insensitive: boolean): RE2JS | undefined {
  try {
    return RE2JS.compile(pattern, RE2JS.MULTILINE | (insensitive ? RE2JS.CASE_INSENSITIVE : 0));
  } catch {
    return undefined;
  }
}

/** Returns the lines as they are searched: a text with a final line feed has no empty line after it. */
function linesOf(text: string): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
}
