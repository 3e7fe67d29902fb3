import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { attacksOf, nameBeginning, sourcesOf } from '../../scripts/support/attack-table.ts';

test('attacksOf reads which tests hold an attack', () => {
  const rows = attacksOf(
    '| item | attack | test | gVisor |\n|---|---|---|---|\n' +
      '| 7 | bombs | `test/a/one.test.ts` "first …", "second"; `two.test.ts`; `npm run bench -- load` | – |\n' +
      '| 8 | escapes | `test/vm/one.test.ts`, `test/a/two.test.ts` | same |\n' +
      '| F3 | `code` and more | none yet | `test/vm/three.test.ts` "other" |\n',
  );
  assert.deepEqual(rows, [
    {
      item: '7',
      attack: 'bombs',
      tests: [
        { file: 'test/a/one.test.ts', names: ['first …', 'second'] },
        { file: 'test/a/two.test.ts', names: [] },
      ],
      gvisor: [],
    },
    {
      item: '8',
      attack: 'escapes',
      tests: [
        { file: 'test/vm/one.test.ts', names: [] },
        { file: 'test/a/two.test.ts', names: [] },
      ],
      gvisor: [{ file: 'test/vm/one.test.ts', names: [] }],
    },
    {
      item: 'F3',
      attack: '`code` and more',
      tests: [],
      gvisor: [{ file: 'test/vm/three.test.ts', names: ['other'] }],
    },
  ]);
  assert.match('a (b) and c', nameBeginning('a (b) … c'));
  assert.doesNotMatch('x a (b)', nameBeginning('a (b)'));
});

test('every test that docs/attacks.md names exists', () => {
  const attacks = attacksOf(readFileSync('docs/attacks.md', 'utf8'));
  assert.deepEqual(
    attacks.map(({ item }) => item),
    [
      ...Array.from({ length: 45 }, (_, index) => `${index + 1}`),
      ...Array.from({ length: 23 }, (_, index) => `F${index + 1}`),
    ],
  );
  const lost = attacks.flatMap(({ item, tests, gvisor }) =>
    [...tests, ...gvisor].flatMap(({ file, names }) => {
      if (!existsSync(file)) return [`${item}: ${file}`];
      const source = sourcesOf(file)
        .map((path) => readFileSync(path, 'utf8'))
        .join('\n');
      const titles = [...source.matchAll(/^\s*(?:await t\.)?test\(\s*(?:'|"|`)(.*?)(?:'|"|`),/gmu)];
      // Only the prefix of a composed name is in the source.
      const made = titles.flatMap(([, title = '']) => /^(.+?)\$\{/u.exec(title)?.[1] ?? []);
      const found = (name: string): boolean =>
        titles.some(([, title = '']) => nameBeginning(name).test(title)) || made.some((one) => name.startsWith(one));
      return names.filter((name) => !found(name)).map((name) => `${item}: ${file} "${name}"`);
    }),
  );
  assert.deepEqual(lost, []);
});
