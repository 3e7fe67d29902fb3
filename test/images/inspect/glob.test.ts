import assert from 'node:assert/strict';
import { test } from 'node:test';
import { globFilter } from '../../../src/images/inspect/grep/glob.ts';
import { startCpuWatch } from '../../support/time/stopwatch.ts';

const accepts = (globs: readonly string[], path: string): boolean => globFilter(globs).acceptsFile(path);

test('a glob without a slash matches names at any depth, one with a slash from the root', () => {
  assert.ok(accepts(['*.py'], 'a.py'));
  assert.ok(accepts(['*.py'], 'usr/lib/b.py'));
  assert.ok(!accepts(['*.py'], 'usr/lib/b.pyc'));
  assert.ok(accepts(['/etc/*.conf'], 'etc/a.conf'));
  assert.ok(accepts(['etc/*.conf'], 'etc/a.conf'));
  assert.ok(!accepts(['etc/*.conf'], 'usr/etc/a.conf'));
  assert.ok(!accepts(['/etc/*.conf'], 'etc/sub/a.conf'), '* stops at a slash');
});

test('** crosses directories, and only as a whole part of the path', () => {
  assert.ok(accepts(['usr/**/x'], 'usr/x'));
  assert.ok(accepts(['usr/**/x'], 'usr/a/b/x'));
  assert.ok(accepts(['usr/**'], 'usr/a/b'));
  assert.ok(!accepts(['usr/**'], 'usr2/a'));
  assert.ok(accepts(['a**b'], 'dir/axxb'));
  assert.ok(!accepts(['dir/a**b'], 'dir/ax/xb'));
});

test('sets, choices and escapes are those of the shell', () => {
  assert.ok(accepts(['[a-c]?.{js,ts}'], 'b1.ts'));
  assert.ok(!accepts(['[!a-c]?.{js,ts}'], 'b1.ts'));
  assert.ok(accepts(['[]x]'], ']'));
  assert.ok(accepts([String.raw`\*`], '*'));
  assert.ok(!accepts([String.raw`\*`], 'x'));
  assert.ok(accepts([String.raw`\!x`], '!x'));
  assert.ok(accepts(['a.b'], 'a.b'));
  assert.ok(!accepts(['a.b'], 'axb'), 'a dot is a dot');
});

test('the last glob that matches decides, and without one only files of no positive glob are left out', () => {
  assert.ok(!accepts(['!*.pyc'], 'a.pyc'));
  assert.ok(accepts(['!*.pyc'], 'a.py'));
  assert.ok(!accepts(['*.py', '!test_*'], 'test_a.py'));
  assert.ok(accepts(['!test_*', 'test_keep.py'], 'test_keep.py'));
  assert.ok(!accepts(['*.py', '!test_*'], 'readme'));
});

test('a negated directory is not entered; a positive glob hides no directory', () => {
  assert.ok(!globFilter(['!node_modules']).entersDirectory('app/node_modules'));
  assert.ok(!globFilter(['!node_modules/']).entersDirectory('node_modules'));
  assert.ok(globFilter(['!node_modules/']).acceptsFile('node_modules'), 'a file of that name stays');
  assert.ok(globFilter(['*.py']).entersDirectory('app'));
});

test('an invalid glob is refused with the reason', () => {
  for (const glob of ['', '!', '[a', '{a', 'a}', '/', 'x'.repeat(2_000)]) {
    assert.throws(() => globFilter([glob]), { code: 'PATTERN_INVALID' }, glob);
  }
});

test('no glob makes matching slow', () => {
  const filter = globFilter([`${'*a'.repeat(100)}b`, `{${'a,'.repeat(300)}a}`, '**/'.repeat(100) + 'x']);
  const cpuMs = startCpuWatch();
  for (let round = 0; round < 20; round++) filter.acceptsFile('a'.repeat(255));
  assert.ok(cpuMs() < 1_000);
});
