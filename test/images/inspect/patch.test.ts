import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { unifiedPatch } from '../../../src/images/inspect/patch.ts';
import { Random } from '../../support/random.ts';
import { startCpuWatch } from '../../support/time/stopwatch.ts';

const of = (before: string, after: string): string | undefined =>
  unifiedPatch('/f', Buffer.from(before), Buffer.from(after));

test('unifiedPatch writes what diff -u writes', () => {
  assert.equal(of('a\nb\nc\n', 'a\nB\nc\n'), '--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n');
  assert.equal(of('', 'new\n'), '--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+new\n');
  assert.equal(of('x\n', 'x'), '--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n+x\n\\ No newline at end of file\n');
});

test('unifiedPatch makes several hunks of distant changes', () => {
  const lines = Array.from({ length: 30 }, (_, index) => `${index}\n`);
  const changed = lines.map((line, index) => (index === 3 || index === 25 ? `changed ${line}` : line));
  const patch = of(lines.join(''), changed.join('')) ?? '';
  assert.deepEqual(patch.match(/^@@.*@@$/gmu), ['@@ -1,7 +1,7 @@', '@@ -23,7 +23,7 @@']);
});

test('unifiedPatch has nothing to say of equal texts, and refuses binary content', () => {
  assert.equal(of('same\n', 'same\n'), undefined);
  assert.equal(of('a\0b', 'a'), undefined);
  assert.equal(unifiedPatch('/f', Buffer.from([0xff]), Buffer.from('a')), undefined);
});

test('a patch turns the old text into the new one, with as few changes as diff finds', () => {
  const folder = mkdtempSync(join(tmpdir(), 'contree-patch-'));
  try {
    const random = new Random(7);
    for (let round = 0; round < 60; round++) {
      const old = Array.from({ length: random.below(40) }, () => `line ${random.below(6)}\n`);
      const young = old.flatMap((line) => {
        if (random.below(5) === 0) return [];
        return random.below(6) === 0 ? [line, 'extra\n'] : [line];
      });
      const [before, after] = [old.join(''), young.join('') + (round % 3 === 0 ? 'tail' : '')];
      const patch = of(before, after);
      if (before === after) continue;
      assert.equal(applied(patch ?? '', before), after);
      // `diff -u` of the same texts must change as many lines: the edit script is a shortest one.
      writeFileSync(join(folder, 'f'), before);
      writeFileSync(join(folder, 'g'), after);
      const { stdout } = spawnSync('diff', ['-d', '-u', 'f', 'g'], { cwd: folder, encoding: 'utf8' });
      assert.equal(changes(patch ?? ''), changes(stdout));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('unifiedPatch of two large unrelated texts ends soon', () => {
  const text = (prefix: string): string => Array.from({ length: 19_000 }, (_, index) => `${prefix}${index}\n`).join('');
  const cpuMs = startCpuWatch();
  const patch = of(text('a'), text('b')) ?? '';
  assert.ok(cpuMs() < 2_000);
  assert.equal(changes(patch), 38_000);
});

/** Applies a patch to a text, written independently from the format's description. */
function applied(patch: string, text: string): string {
  const old = text.match(/[^\n]*\n|[^\n]+$/gu) ?? [];
  const result: string[] = [];
  let at = 0;
  for (const line of patch.split('\n').slice(2, -1)) {
    const [, start, count] = /^@@ -(\d+)(?:,(\d+))? /u.exec(line) ?? [];
    if (start !== undefined) {
      const first = Number(start) - (count === '0' ? 0 : 1);
      result.push(...old.slice(at, first));
      at = first;
    } else if (line.startsWith('\\')) {
      result.push((result.pop() ?? '').replace(/\n$/u, ''));
    } else {
      if (line.startsWith('+')) result.push(`${line.slice(1)}\n`);
      else if (line.startsWith(' ')) result.push(`${line.slice(1)}\n`);
      if (!line.startsWith('+')) assert.equal(old[at++]?.replace(/\n$/u, ''), line.slice(1));
    }
  }
  return [...result, ...old.slice(at)].join('');
}

function changes(patch: string): number {
  return patch.split('\n').filter((line) => /^[-+](?![-+]{2} )/u.test(line)).length;
}
