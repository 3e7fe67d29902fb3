import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isComplete } from '../../../src/cli/shell/complete.ts';
import { directoryOf, lineArguments, type ShellKind } from '../../../src/cli/shell/state-script.ts';
import { Timeline } from '../../../src/cli/shell/timeline.ts';

test('a line is complete when no quote, here-document, compound command or continuation is open', () => {
  const complete = [
    '',
    'ls -l "a b" \'c\'',
    'a && b | c &',
    'cat <<E\nx "\nE',
    "cat <<'E' > f\n$(\nE\n",
    'cat <<-E\n\tx\n\tE',
    'cat <<A <<B\na\nA\nb\nB',
    'cat <<<"x"',
    'for i in 1 2; do echo $i; done',
    'if a; then b; else c; fi',
    'f() {\n echo\n}',
    'case $x in\n a|b) echo;;\n*) :;;\nesac',
    'echo ${x:-"y"} ${#x} $# $((1 + 2)) $(echo ")") `ls`',
    'echo "$(echo ")")" # "',
    'echo done fi } {a,b} a#b',
    'a 2>&1 >f',
    'a &&\nb',
    // Wrong, which the shell reports.
    'fi',
    ')',
  ];
  const open = [
    'echo "a',
    "echo 'x",
    'a &&',
    'a |\n',
    'a && # c',
    'a \\\n',
    'cat <<E\nx',
    'for i in 1 2; do',
    'if a; then if b; then c; fi',
    'f() {',
    'case x in a) b;;',
    'echo $(ls',
    'echo "$(ls)',
    'echo `ls',
    '(a',
    'while a; do b',
    'echo ${x',
  ];
  assert.deepEqual(
    complete.filter((text) => !isComplete(text)),
    [],
  );
  assert.deepEqual(open.filter(isComplete), []);
});

/** Executes lines one after the other, each in a process of its own, and returns what each wrote and its exit code. */
function session(kind: ShellKind, lines: readonly string[]): readonly (readonly [string, number | null])[] {
  const folder = mkdtempSync(join(tmpdir(), 'contree-shell-'));
  try {
    const file = join(folder, 'state');
    const results = lines.map((line) => {
      const { status, stdout, stderr } = spawnSync(kind, lineArguments(kind, line, file), {
        cwd: folder,
        encoding: 'utf8',
        // bash reads the user's start-up file when its input is a socket and no shell is above it.
        env: { ...process.env, HOME: folder },
      });
      return [stdout + stderr, status] as const;
    });
    assert.equal(directoryOf(readFileSync(file, 'utf8')), '/usr');
    return results;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const COMMON: readonly (readonly [line: string, output: string, status: number])[] = [
  ['cd /usr/lib && X="a b" && export Y="c\'d\n e"', '', 0],
  ['echo "$X|$Y|$PWD"', "a b|c'd\n e|/usr/lib\n", 0],
  ['sh -c \'echo "$X|$Y"\'', "|c'd\n e\n", 0],
  ['cd ..', '', 0],
  ['echo "$PWD $OLDPWD"', '/usr /usr/lib\n', 0],
  ['alias greet="echo hello"', '', 0],
  ['greet you', 'hello you\n', 0],
  ['(exit 3)', '', 3],
  ['echo $?', '3\n', 0],
  ['Z=kept; exit 7', '', 7],
  ['echo $Z', 'kept\n', 0],
  ['umask 027; set -f; set -e', '', 0],
  ['umask; echo /*; false; echo on', '0027\n/*\non\n', 0],
  // As by Ctrl-C: the line ends, and what it did before is kept.
  ['W=seen; kill -INT $$; echo not', '', 130],
  ['echo $W; env | grep -c __contree', 'seen\n0\n', 1],
];

test('in sh variables, aliases, options and the directory last from line to line', () => {
  assert.deepEqual(
    session(
      'sh',
      COMMON.map(([line]) => line),
    ),
    COMMON.map(([, output, status]) => [output, status]),
  );
});

test('in bash functions and arrays last too', () => {
  const more: readonly (readonly [string, string, number])[] = [
    ...COMMON,
    ['f() { echo "f $1"; }; A=(1 2 3); declare -A M=([k]=v)', '', 0],
    ['f 1; echo ${A[1]} ${M[k]}; declare -F', 'f 1\n2 v\ndeclare -f __contree_save\ndeclare -f f\n', 0],
  ];
  assert.deepEqual(
    session(
      'bash',
      more.map(([line]) => line),
    ),
    more.map(([, output, status]) => [output, status]),
  );
});

test('going back and forward follows the line that was taken; another line begins a branch', () => {
  const timeline = new Timeline('i0', 'base');
  timeline.made('i1', 'one');
  timeline.made('i2', 'two');
  assert.equal(timeline.back()?.image, 'i1');
  assert.equal(timeline.back()?.image, 'i0');
  assert.equal(timeline.back(), undefined);
  assert.equal(timeline.forward()?.image, 'i1');
  timeline.made('i3', 'three');
  assert.equal(timeline.forward(), undefined, 'another line was taken');
  assert.equal(timeline.back()?.image, 'i1');
  assert.equal(timeline.go('i2', 'i2').line, 'two');
  assert.equal(timeline.go('other', 'tag:x').parent, undefined);
  assert.deepEqual(
    timeline.moments.map(({ image }) => image),
    ['i0', 'i1', 'i2', 'i3', 'other'],
  );
});
