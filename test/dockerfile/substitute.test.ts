import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { expandContent, expandWord, expandWords, type Substitution, Work } from '../../src/dockerfile/substitute.ts';
import { atLine } from './at-line.ts';

const variables = new Map([
  ['a', 'one'],
  ['empty', ''],
  ['two', 'x y'],
  ['path', '/usr/local/bin'],
  ['file', 'foo.tar.gz'],
  ['stars', 'a*b*c'],
  ['ünï', 'ok'],
]);
/** The work is new with every use: it is that of one instruction. */
const given: Substitution = {
  variables,
  escape: '\\',
  line: 7,
  get work() {
    return new Work();
  },
};

const WORDS: readonly (readonly [text: string, expected: string])[] = [
  ['$a', 'one'],
  ['${a}', 'one'],
  ['x${a}y', 'xoney'],
  ['$ab', ''],
  ['$a-b', 'one-b'],
  ['$a/$b/$a', 'one//one'],
  ['\\$a', '$a'],
  ["'$a'", '$a'],
  ['"$a"', 'one'],
  ['"\\$a \\" \\n"', '$a " \\n'],
  ['"it\'s"', "it's"],
  ['a\\ b', 'a b'],
  ['$', '$'],
  ['a$', 'a$'],
  ['$1x', 'x'],
  ['${ünï}', 'ok'],
  ['end\\', 'end'],
  // Defaults and alternatives
  ['${a:-b}', 'one'],
  ['${no:-b}', 'b'],
  ['${empty:-b}', 'b'],
  ['${empty-b}', ''],
  ['${no-b}', 'b'],
  ['${a:+b}', 'b'],
  ['${empty:+b}', ''],
  ['${empty+b}', 'b'],
  ['${no+b}', ''],
  ['${no:-$a}', 'one'],
  ['${no:-${nope:-deep}}', 'deep'],
  ['${no:-"a }b"}', 'a }b'],
  ['${a:?never}', 'one'],
  // Patterns
  ['${path#*/}', 'usr/local/bin'],
  ['${path##*/}', 'bin'],
  ['${path%/*}', '/usr/local'],
  ['${path%%/*}', ''],
  ['${file%.*}', 'foo.tar'],
  ['${file%%.*}', 'foo'],
  ['${file#f?o.}', 'tar.gz'],
  ['${file#nothing}', 'foo.tar.gz'],
  ['${stars#a\\*}', 'b*c'],
  ['${stars%\\*c}', 'a*b'],
  ['${no#*}', ''],
  ['${file/o/0}', 'f0o.tar.gz'],
  ['${file//o/0}', 'f00.tar.gz'],
  ['${file/.*/}', 'foo'],
  ['${file//./$a}', 'fooonetaronegz'],
  ['${path//\\//-}', '-usr-local-bin'],
  ['${file/z/a/b}', 'foo.tar.ga/b'],
];

for (const [text, expected] of WORDS) {
  test(`variables are substituted: ${text}`, () => assert.equal(expandWord(text, given), expected));
}

test('values are split into words, quoted ones are not', () => {
  assert.deepEqual(expandWords('$two "$two" a\\ b \'c d\' $no', given), ['x', 'y', 'x y', 'a b', 'c d']);
  assert.deepEqual(expandWords(' 80 $empty 90 ', given), ['80', '90']);
});

test('the content of a here-document keeps its quotes', () => {
  assert.equal(expandContent(`it's "$a" \\$a '\${no:-x}'`, given), `it's "one" $a 'x'`);
});

test('the escape character is that of the file', () => {
  assert.equal(expandWord('C:\\`$a', { ...given, escape: '`' }), 'C:\\$a');
});

const FAULTS: readonly (readonly [text: string, reason: RegExp])[] = [
  ['${a', /lacks/u],
  ['${}', /no name/u],
  ['${a:', /lacks|not known/u],
  ['${a^^}', /not known/u],
  ['${no:-x', /lacks/u],
  ["'a", /no end/u],
  ['"a', /no end/u],
  ['${no?needed}', /no: needed/u],
  ['${empty:?}', /must not be empty/u],
  ['${a#\\x}', /escape/u],
  ['${a/b}', /lacks/u],
  ['${x:-'.repeat(60), /nested deeper/u],
];

for (const [text, reason] of FAULTS) {
  test(`a wrong substitution is refused with the line: ${text.slice(0, 20)}`, () => {
    assert.throws(() => expandWord(text, given), atLine(7, reason));
  });
}

/** Texts whose work grows faster than they do, each with the longest value that it may use. */
const WORK: readonly (readonly [what: string, text: string, value: string])[] = [
  ['many variables', '$v'.repeat(20_000), ''],
  ['values that double with every use', '$v$v', 'x'.repeat(100_000)],
  ['many patterns', '${v#a}'.repeat(1_000), 'b'],
  ['a long pattern', `\${v#${'*x'.repeat(5_000)}}`, 'x'],
  ['a long value with a pattern', '${v//x/}', 'x'.repeat(20_000)],
  ['a value through many levels', `${'${no:-'.repeat(40)}$v${'}'.repeat(40)}`, ' y'.repeat(5_000)],
];

for (const [what, text, value] of WORK) {
  test(`the work of an instruction is bounded: ${what}`, () => {
    assert.throws(
      () => expandWord(text, { ...given, variables: new Map([['v', value]]), work: new Work() }),
      atLine(7, /too many/u),
    );
  });
}

test('all texts of an instruction share one bound, and a Dockerfile of full size that has no variables is within it', () => {
  const work = new Work();
  for (let times = 0; times < 5_000; times += 1) expandWord('$a', { ...given, work });
  assert.throws(
    () => {
      for (let times = 0; times < 10_000; times += 1) expandWord('$a', { ...given, work });
    },
    atLine(7, /too many/u),
  );
  const whole = 'x y '.repeat(limits.dockerfileBytesMax / 4);
  assert.equal(expandContent(whole, { ...given, work: new Work() }), whole);
});
