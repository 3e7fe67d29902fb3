import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { SPECIFIER } from '../support/specifier.ts';

/** Folder of console/app/ → folders it may import; files outside of these folders may import all. */
const CONSOLE: Readonly<Record<string, readonly string[]>> = {
  kit: ['kit'],
  api: ['kit', 'api'],
  views: ['kit', 'api', 'views'],
};

/** Comments with types may name the contract, whose shapes the console shows; code has nothing from outside. */
test('the console imports nothing from outside, and its parts one way', () => {
  const files = globSync('console/app/**/*.js');
  assert.ok(files.length > 20, 'the check found the console');
  const bad = files.flatMap((file) => {
    const allowed = CONSOLE[dirname(file).slice('console/app/'.length)];
    return [...readFileSync(file, 'utf8').matchAll(SPECIFIER)]
      .map(([, name = '']) => (name.startsWith('.') ? join(dirname(file), name) : name))
      .filter((target) => {
        const [, folder = ''] = /^console\/app\/(\w+)\//u.exec(target) ?? [];
        return folder === '' || !(allowed ?? Object.keys(CONSOLE)).includes(folder);
      })
      .map((target) => `${file} imports ${target}`);
  });
  assert.deepEqual(bad, []);
});

test('the console never makes text into markup', () => {
  const makers =
    /\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML\w*|eval|Function)\b/u;
  const files = globSync('console/app/**/*.js');
  assert.deepEqual(
    files.filter((file) => makers.test(readFileSync(file, 'utf8'))),
    [],
  );
});
