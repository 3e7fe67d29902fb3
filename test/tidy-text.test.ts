import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const sources = (): readonly string[] => globSync('src/**/*.ts');

/** Every file whose comments are checked. */
const commented = (): readonly string[] => [
  ...sources(),
  ...globSync(['test/**/*.ts', 'scripts/**/*.ts', 'bench/**/*.ts', 'console/app/**/*.js']).filter(
    (file) => file !== 'test/tidy-text.test.ts',
  ),
];

/** Returns the comments of a source file. */
function commentsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  return [...text.matchAll(/^[ \t]*\/\*[^]*?\*\/|(?<=^|\s)\/\/ [^\n]*/gmu)].map(([comment]) => comment);
}

/** Openings that make a reader assemble the sentence. "As" and "For" may open a whole sentence, which these rarely are. */
const FRAGMENT = /\/\*\*(?:\s|\*(?!\/))*((?:What|Whether|Where|How|Who|Whoever|Why|Of|As|By|For)\b[^\n]*)/gu;

function fragments(text: string): string[] {
  return [...text.matchAll(FRAGMENT)].map(([, opening = '']) => opening);
}

test('doc comments begin with a verb or a noun phrase', () => {
  assert.equal(fragments('/** Whether it is. */').length, 1, 'the check sees one in a line');
  assert.equal(fragments('/**\n * Of the file.\n */').length, 1, 'the check sees one in a block');
  const found = commented().flatMap((file) => fragments(readFileSync(file, 'utf8')).map((text) => `${file}: ${text}`));
  assert.deepEqual(found, []);
});

/** Calls that wait for time to pass. Deadlines (`AbortSignal.timeout`, `{ timeout }`) and `setImmediate` are none. */
const SLEEP = /(?<!mock\.method\(globalThis, ')\b(?:delay|sleep|setTimeout)\(/u;

test('tests wait for conditions; a sleep has a comment that says why only time can show the result', () => {
  const files = globSync('test/**/*.ts').filter(
    (file) =>
      !['test/tidy-text.test.ts', 'test/support/time/until.ts'].includes(file) && !file.includes('/fake-sandbox/'),
  );
  const found = files.flatMap((file) => {
    const lines = readFileSync(file, 'utf8').split('\n');
    const explained = (at: number): boolean =>
      lines.slice(Math.max(0, at - 3), at + 1).some((line) => /^\s*\/\/ |\s\/\/ /u.test(line));
    return lines.flatMap((line, at) =>
      SLEEP.test(line) && !explained(at) ? [`${file}:${at + 1}: ${line.trim()}`] : [],
    );
  });
  assert.deepEqual(found, []);
});

test('comments fit into 130 columns', () => {
  const long = /^\s*(?:\/\/(?! oxlint| eslint)|\/\*\*|\* (?!@)).{0,1000}/gmu;
  const found = commented().flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(long)]
      .filter(([line]) => line.length > 130)
      .map(([line]) => `${file}: ${line}`),
  );
  assert.deepEqual(found, []);
});

test('words that the glossary of STYLE.md bans do not occur', () => {
  const glossary = readFileSync('STYLE.md', 'utf8').split('## Glossary')[1] ?? '';
  const rows = [...glossary.matchAll(/^\|[^|\n]*\|[^|\n]*\|([^|\n]*)\|$/gmu)].map(([, cell = '']) => cell);
  const banned = rows.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/gu)].map(([, word = '']) => word));
  assert.ok(banned.includes('whoever') && banned.length > 10, 'the check found the banned words');
  const words = new RegExp(String.raw`\b(?:${banned.join('|')})\b`, 'iu');
  // Names in camel case count word by word.
  const spaced = (text: string): string => text.replaceAll(/(?<=[a-z])(?=[A-Z])/gu, ' ');
  const lines = [
    ...sources().map((file) => [file, spaced(readFileSync(file, 'utf8')).split('\n')] as const),
    ...commented().map((file) => [file, commentsOf(file)] as const),
  ];
  const found = lines.flatMap(([file, texts]) =>
    texts.filter((text) => words.test(text)).map((text) => `${file}: ${text.trim()}`),
  );
  assert.deepEqual(found, []);
});

/** Phrases that a native reader has to decode: "is no directory" for "is not a directory", and pronouns without a noun. */
const UNIDIOMATIC =
  /(?<!\bthere )\b(?:is|are) no (?!longer\b|more\b)\w+|\b(?:be it|told (?:by|of)|hears? of|somebody|anybody|whoever|lets? go of)\b/iu;

test('comments say things as a native speaker would', () => {
  for (const text of ['/etc is no file', 'be it a file', 'as told by the guest']) assert.match(text, UNIDIOMATIC);
  for (const text of ['there is no file', 'is no longer used']) assert.doesNotMatch(text, UNIDIOMATIC);
  const found = commented().flatMap((file) =>
    commentsOf(file)
      .filter((text) => UNIDIOMATIC.test(text.replaceAll(/\s+(?:\*|\/\/)?\s*/gu, ' ')))
      .map((text) => `${file}: ${text}`),
  );
  assert.deepEqual(found, []);
});

/** Returns what a page's tables say of tests and is not so: files that are missing, and names that their file lacks. */
function missingTests(page: string): string[] {
  const files = globSync('test/**/*.{ts,py}');
  const rows = readFileSync(page, 'utf8').matchAll(/^\|(?! ?\|| ?-).*\|$/gmu);
  return [...rows].flatMap(([row]) => {
    let file: string | undefined;
    return [...row.matchAll(/`([\w./-]+\.(?:ts|py))`|"([^"|`]+)"/gu)].flatMap(([, path, name]) => {
      if (path?.startsWith('src/')) return [];
      if (path !== undefined) file = files.find((known) => known === path || known.endsWith(`/${path}`));
      if (file === undefined) return path === undefined ? [] : [`${page}: ${path}`];
      const text = readFileSync(file, 'utf8');
      return name === undefined || text.includes(name.replace(/ ?…$/u, '')) ? [] : [`${page}: ${file} "${name}"`];
    });
  });
}

test('the tests that the page of faults names exist', () => {
  assert.deepEqual(missingTests('docs/faults.md'), []);
});
