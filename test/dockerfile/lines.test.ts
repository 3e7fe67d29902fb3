import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contentOf } from '../../src/dockerfile/heredoc.ts';
import { splitDockerfile } from '../../src/dockerfile/lines.ts';
import { limits } from '../../src/contract/limits.ts';
import { atLine } from './at-line.ts';

/** Instructions of a text as `line KEYWORD rest`. */
function split(text: string): string[] {
  return splitDockerfile(text).instructions.map(({ line, keyword, rest }) => `${line} ${keyword} ${rest}`);
}

const CASES: readonly (readonly [name: string, text: string, expected: readonly string[]])[] = [
  ['keywords in any case', 'from a\nRun b', ['1 FROM a', '2 RUN b']],
  ['leading space and empty lines', '\n\n  FROM a\n\n\tRUN b\n', ['3 FROM a', '5 RUN b']],
  ['comments', '# one\nFROM a\n  # two\nRUN b # no comment', ['2 FROM a', '4 RUN b # no comment']],
  ['continuation keeps the indentation', 'RUN a \\\n  b\\\nc\nRUN d', ['1 RUN a   bc', '4 RUN d']],
  ['space after the escape', 'RUN a \\ \t\n b', ['1 RUN a  b']],
  ['comments and empty lines in between', 'RUN a \\\n# no\n\n   # no\n  b', ['1 RUN a   b']],
  ['an escaped escape does not continue', 'RUN a\\\\\nRUN b', ['1 RUN a\\\\', '2 RUN b']],
  ['a lone escape', '\\\nRUN a', ['1 RUN a']],
  ['continuation at the end of the file', 'RUN a \\', ['1 RUN a']],
  ['CRLF', 'FROM a\r\nRUN b \\\r\n c\r\n', ['1 FROM a', '2 RUN b  c']],
  ['byte order mark', '\uFEFFFROM a', ['1 FROM a']],
  ['escape directive', '# escape=`\nRUN a `\nb\nRUN c\\\nRUN d', ['2 RUN a b', '4 RUN c\\', '5 RUN d']],
  ['directives come first', '# comment\n# escape=`\nRUN a \\\nb', ['3 RUN a b']],
  ['an unknown directive ends them', '# a=b\n# escape=`\nRUN a \\\nb', ['3 RUN a b']],
  ['syntax and check', '#syntax = docker/dockerfile:1.7-labs\n# check=skip=all\nFROM a', ['3 FROM a']],
  ['here-document', 'RUN <<EOF\nFROM x\n# kept \\\nEOF\nRUN b', ['1 RUN <<EOF', '5 RUN b']],
  ['number of a descriptor', 'RUN 3<<E cat\nFROM\nE\nRUN b', ['1 RUN 3<<E cat', '4 RUN b']],
  ['after a command', 'RUN cat <<A && b <<-B\na\nA\n\tb\n\tB\nRUN c', ['1 RUN cat <<A && b <<-B', '6 RUN c']],
  [
    'no here-document in quotes',
    `RUN echo "<<E" '<<F' <<<G x<<H\nRUN b`,
    [`1 RUN echo "<<E" '<<F' <<<G x<<H`, '2 RUN b'],
  ],
  ['no here-document elsewhere', 'ENV a=<<E\nRUN b', ['1 ENV a=<<E', '2 RUN b']],
  ['no here-document in a list', 'RUN ["cat", "<<E"]\nRUN b', ['1 RUN ["cat", "<<E"]', '2 RUN b']],
  ['trigger', 'ONBUILD RUN <<E\na\nE\nRUN b', ['1 ONBUILD RUN <<E', '4 RUN b']],
];

for (const [name, text, expected] of CASES) {
  test(`a Dockerfile is split: ${name}`, () => assert.deepEqual(split(text), expected));
}

test('flags are split off, with their quotes', () => {
  const [raw] = splitDockerfile('COPY --chown="a b" --exclude=\'*.x\' --a\\ b -- --c d').instructions;
  assert.deepEqual(raw?.flags, ['--chown=a b', '--exclude=*.x', '--a b']);
  assert.equal(raw?.rest, '--c d');
});

const HEREDOCS: readonly (readonly [mark: string, name: string, expand: boolean, chomp: boolean])[] = [
  ['<<EOF', 'EOF', true, false],
  ['<<-EOF', 'EOF', true, true],
  ['<<"EOF"', 'EOF', false, false],
  [`<<eo'f'`, 'eof', false, false],
  [String.raw`<<eo\'f`, "eo'f", true, false],
  [`<<'one two'`, 'one two', false, false],
  ['<<  EOF', 'EOF', true, false],
  ['<<file.txt', 'file.txt', true, false],
  ['<<$EOF', '$EOF', true, false],
];

for (const [mark, name, expand, chomp] of HEREDOCS) {
  test(`a here-document has the name of its mark: ${mark}`, () => {
    const [raw] = splitDockerfile(`RUN ${mark}\n\tx\n${name}\nRUN y`).instructions;
    assert.deepEqual(raw?.heredocs, [{ name, expand, chomp, descriptor: undefined, content: '\tx\n' }]);
  });
}

const FAULTS: readonly (readonly [name: string, text: string, line: number])[] = [
  ['a here-document without an end', 'FROM a\nRUN <<E\nx', 2],
  ['a mark with an open quote', `FROM a\nRUN <<'E\nx`, 2],
  ['a wrong escape character', '# escape=x\nFROM a', 1],
  ['a directive that is given twice', '# escape=`\n# escape=`\nFROM a', 2],
  ['another language', '# syntax=example.org/other:1\nFROM a', 1],
  ['a NUL byte', 'FROM a\nRUN \0', 2],
  [
    'too many instructions',
    'RUN a\n'.repeat(limits.dockerfileInstructionsMax + 1),
    limits.dockerfileInstructionsMax + 1,
  ],
  ['a file that is too large', '#'.repeat(limits.dockerfileBytesMax + 1), 1],
];

for (const [name, text, line] of FAULTS) {
  test(`a Dockerfile is refused with the line: ${name}`, () => {
    assert.throws(() => splitDockerfile(text), atLine(line));
  });
}

test('leading tabs of a here-document are dropped where its mark says so', () => {
  const [kept, dropped] = splitDockerfile('RUN <<A <<-B\n\ta\nA\n\tb\n\t\tc\n\tB').instructions[0]?.heredocs ?? [];
  assert.equal(kept && contentOf(kept), '\ta\n');
  assert.equal(dropped && contentOf(dropped), 'b\nc\n');
});
