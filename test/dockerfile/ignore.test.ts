import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DockerIgnore } from '../../src/dockerfile/ignore.ts';
import { pathTest } from '../../src/dockerfile/path-pattern.ts';
import { limits } from '../../src/contract/limits.ts';
import { atLine } from './at-line.ts';

const RULES: readonly (readonly [file: string, ignored: readonly string[], kept: readonly string[]])[] = [
  ['a', ['a', 'a/b', 'a/b/c'], ['b', 'b/a', 'ab']],
  ['/a/', ['a', 'a/b'], ['b/a']],
  ['*.md', ['x.md'], ['d/x.md', 'x.mdx']],
  ['**/*.md', ['x.md', 'd/x.md', 'd/e/x.md'], ['x.mdx']],
  ['**/node_modules', ['node_modules', 'a/node_modules/b'], ['a/node_modules_']],
  ['**.log', ['a.log', 'd/a.log'], ['a.logs']],
  ['*/temp*', ['a/temp', 'a/temporary.txt'], ['temp', 'a/b/temp']],
  ['*/*/temp*', ['a/b/temp'], ['a/temp']],
  ['temp?', ['tempa', 'temp1/x'], ['temp', 'tempab']],
  ['a/**/z', ['a/z', 'a/b/z', 'a/b/c/z/y'], ['z', 'b/z']],
  ['a/**', ['a/b', 'a/b/c'], ['a', 'b']],
  ['[a-c]x', ['ax', 'cx'], ['dx', 'x']],
  ['[^a]x', ['bx'], ['ax', '/x']],
  ['\\*', ['*'], ['a']],
  ['*\n!a', ['b', 'b/c'], ['a', 'a/b']],
  ['*.md\n!README*.md\nREADME-secret.md', ['x.md', 'README-secret.md'], ['README.md']],
  ['*.md\nREADME-secret.md\n!README*.md', ['x.md'], ['README.md', 'README-secret.md']],
  ['d\n!d/keep', ['d', 'd/other'], ['d/keep', 'd/keep/x']],
  ['# comment\n\n  b  \n', ['b'], ['# comment']],
  ['./a/../b', ['b'], ['a']],
  ['.', [], ['a']],
  ['', [], ['a']],
];

for (const [file, ignored, kept] of RULES) {
  test(`.dockerignore: ${JSON.stringify(file)}`, () => {
    const rules = DockerIgnore.parse(file);
    assert.deepEqual(
      ignored.filter((path) => !rules.ignores(path)),
      [],
    );
    assert.deepEqual(
      kept.filter((path) => rules.ignores(path)),
      [],
    );
  });
}

test('an ignored directory need not be read unless something is taken in again', () => {
  assert.equal(DockerIgnore.parse('a').ignoresAllBelow('a'), true);
  assert.equal(DockerIgnore.parse('a\n!b').ignoresAllBelow('a'), false);
});

test('a wrong ignore file is refused with its line', () => {
  assert.throws(() => DockerIgnore.parse('a\n!'), atLine(2));
  assert.throws(() => DockerIgnore.parse('a\n\n[x'), atLine(3));
  assert.throws(() => DockerIgnore.parse('a\n'.repeat(limits.dockerignoreRulesMax + 1)), atLine(1));
});

test('sources match as with filepath.Match', () => {
  const matching = (pattern: string, ...paths: string[]): string[] => paths.filter(pathTest(pattern, 1));
  assert.deepEqual(matching('a*', 'a', 'ab', 'a/b', 'ba'), ['a', 'ab']);
  assert.deepEqual(matching('**', 'a', 'a/b'), ['a']);
  assert.deepEqual(matching('d/?.[jt]s', 'd/a.js', 'd/b.ts', 'd/ab.js', 'a.js'), ['d/a.js', 'd/b.ts']);
  assert.deepEqual(matching('a\\[b', 'a[b', 'a\\[b'), ['a[b']);
  assert.throws(() => pathTest('a\\', 3), atLine(3));
  assert.deepEqual(matching(`${'*a'.repeat(40)}b`, 'a'.repeat(5_000)), [], 'and in linear time');
});
