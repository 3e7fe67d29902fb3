import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { Tree } from '../../../src/layers/tree.ts';
import type { GrepQuery } from '../../../src/contract/inspect.ts';
import { grep } from '../../../src/images/inspect/grep/grep.ts';
import { toByteString } from '../../../src/std/bytes.ts';
import { imageOf, layerOf, Scratch } from '../../support/layers.ts';
import { tarOf, type TarMember } from '../../support/tar.ts';
import { startCpuWatch } from '../../support/time/stopwatch.ts';

const hasRipgrep = spawnSync('rg', ['--version']).status === 0;
const skip = hasRipgrep ? false : 'ripgrep, the reference, is not installed';

const MEMBERS: readonly TarMember[] = [
  { path: 'app/main.py', content: 'import os\nimport sys\n\ndef main():\n    return os.getcwd()  # café\n' },
  { path: 'app/test_main.py', content: 'import main\nassert main.main()\nIMPORT = "import"\n' },
  { path: 'app/.hidden', content: 'import hidden\n' },
  { path: 'app/.gitignore', content: 'ignored.py\n' },
  { path: 'app/ignored.py', content: 'import ignored\n' },
  { path: 'app/node_modules/x/index.js', content: 'import x from "x";\nexport default x;\n' },
  { path: 'app/no-newline', content: 'first\nimport last' },
  { path: 'app/crlf', content: 'import a\r\nimport b\r\n' },
  { path: 'app/binary', content: 'import\n\0import\n' },
  { path: 'app/link.py', flag: '2', linkname: 'main.py' },
  {
    path: 'app/many',
    content: Array.from({ length: 50 }, (_, line) => `line ${line}${line % 10 === 3 ? ' import' : ''}\n`).join(''),
  },
  { path: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n' },
  { path: 'empty', content: '' },
  { path: toByteString('ünïcode'), content: 'zażółć gęślą jaźń import\n日本語 import 日本語 import\n' },
];

async function openImage(scratch: Scratch, members: readonly TarMember[]): Promise<Tree> {
  return await Tree.open(await imageOf(scratch, members));
}

test('grep reports place, text and byte offsets of every match', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, MEMBERS);
  const result = await grep(tree, { pattern: ['import'], path: ['/ünïcode'] });
  assert.deepEqual(result, {
    path: '/ünïcode',
    patterns: ['import'],
    truncated: false,
    matches: [
      {
        path: '/ünïcode',
        line_number: 1,
        absolute_offset: 0,
        line_text: 'zażółć gęślą jaźń import\n',
        line_bytes: 34,
        submatches: [{ text: 'import', start: 27, end: 33 }],
        type: 'match',
      },
      {
        path: '/ünïcode',
        line_number: 2,
        absolute_offset: 34,
        line_text: '日本語 import 日本語 import\n',
        line_bytes: 34,
        submatches: [
          { text: 'import', start: 10, end: 16 },
          { text: 'import', start: 27, end: 33 },
        ],
        type: 'match',
      },
    ],
  });
});

test('grep finds what ripgrep finds', { skip }, async () => {
  await using scratch = await Scratch.create();
  const folder = scratch.path();
  mkdirSync(folder);
  execFileSync('tar', ['-x', '-C', folder], { input: tarOf(MEMBERS) });
  await using tree = await Tree.open([await layerOf(scratch, tarOf(MEMBERS))]);
  const cases: readonly (readonly [GrepQuery, string[]])[] = [
    [{ pattern: ['import'] }, []],
    [{ pattern: ['nothing to find'] }, []],
    [{ pattern: ['^import'] }, []],
    [{ pattern: ['import$'] }, []],
    [{ pattern: ['IMPORT'], case: 'insensitive' }, ['-i']],
    [{ pattern: ['import'], case: 'smart' }, ['-S']],
    [{ pattern: ['Import|IMPORT'], case: 'smart' }, ['-S']],
    [{ pattern: ['root', 'ann'] }, []],
    [{ pattern: [String.raw`\bmain\b`] }, []],
    [{ pattern: ['[0-9]+:[0-9]+'] }, []],
    [{ pattern: ['é|ż'] }, []],
    [{ pattern: ['.'], glob: ['*.py'] }, ['-g', '*.py']],
    [{ pattern: ['import'], glob: ['*.py', '!test_*'] }, ['-g', '*.py', '-g', '!test_*']],
    [{ pattern: ['import'], glob: ['!node_modules'] }, ['-g', '!node_modules']],
    [{ pattern: ['import'], glob: ['/app/*.py'] }, ['-g', '/app/*.py']],
    [{ pattern: ['import'], glob: ['**/x/**'] }, ['-g', '**/x/**']],
    [{ pattern: ['import'], max_count: 2 }, ['-m', '2']],
    [{ pattern: ['import'], before: 2, after: 1 }, ['-B', '2', '-A', '1']],
    [{ pattern: ['line 1'], before: 3, after: 3 }, ['-C', '3']],
  ];
  for (const [query, flags] of cases) {
    const { matches } = await grep(tree, query);
    const ours = matches.map((match) => [
      match.path,
      match.line_number,
      match.absolute_offset,
      match.type,
      match.line_text,
      match.submatches,
    ]);
    assert.deepEqual(ours, ripgrep(folder, query.pattern, flags), JSON.stringify(query));
  }
});

test('explicit files are searched whatever the globs say, and symlinks among the paths are followed', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, MEMBERS);
  const { matches, path } = await grep(tree, {
    pattern: ['root'],
    path: ['/etc/passwd', '/app/link.py'],
    glob: ['*.py'],
  });
  assert.deepEqual(
    matches.map((match) => match.path),
    ['/etc/passwd'],
  );
  assert.equal(path, '/etc/passwd');
  const linked = await grep(tree, { pattern: ['getcwd'], path: ['/app/link.py'] });
  assert.deepEqual(
    linked.matches.map((match) => match.path),
    ['/app/link.py'],
  );
});

test('a path that does not exist and a pattern that is none are refused', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, MEMBERS);
  await assert.rejects(grep(tree, { pattern: ['x'], path: ['/etc', '/nope'] }), { code: 'FILE_NOT_FOUND' });
  await assert.rejects(grep(tree, { pattern: ['(?=x)'] }), { code: 'PATTERN_INVALID' });
  await assert.rejects(grep(tree, { pattern: ['a)', '(b'] }), { code: 'PATTERN_INVALID' });
  await assert.rejects(grep(tree, { pattern: [] }), { code: 'ARGUMENT_INVALID' });
  await assert.rejects(grep(tree, { pattern: ['x'], before: -1 }), { code: 'ARGUMENT_INVALID' });
});

test('maxTotal ends the search and says so', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, MEMBERS);
  const result = await grep(tree, { pattern: ['import'], max_total: 3 });
  assert.equal(result.matches.length, 3);
  assert.equal(result.truncated, true);
});

test('files larger than a segment are searched whole: lines across its end, numbers, context', async () => {
  await using scratch = await Scratch.create();
  const lines = Array.from(
    { length: 200_000 },
    (_, line) => `${line}${line % 49_999 === 0 ? ' needle' : ''}${'.'.repeat(line % 23)}`,
  );
  const folder = scratch.path();
  mkdirSync(folder);
  const tar = tarOf([{ path: 'big', content: `${lines.join('\n')}\n` }]);
  execFileSync('tar', ['-x', '-C', folder], { input: tar });
  await using tree = await Tree.open([await layerOf(scratch, tar)]);
  const { matches } = await grep(tree, { pattern: ['needle'], before: 2, after: 2 });
  const numbers = matches.filter(({ type }) => type === 'match').map(({ line_number: number }) => number);
  assert.deepEqual(numbers, [1, 50_000, 99_999, 149_998, 199_997]);
  for (const { line_number: number, line_text: text } of matches) assert.equal(text, `${lines[number - 1]}\n`);
  assert.equal(matches.length, 3 + 4 * 5);
  const places = matches.map(({ absolute_offset: offset, line_bytes: bytes }) => [offset, bytes]);
  for (const [index, [offset = 0]] of places.entries()) {
    const text = matches[index]?.line_text ?? '';
    assert.equal(Buffer.from(`${lines.join('\n')}\n`).toString('utf8', offset, offset + text.length), text);
  }
});

test('a line without end is searched in part, reported in part, and harms nothing', async () => {
  await using scratch = await Scratch.create();
  const content = Buffer.concat([
    Buffer.from('needle'),
    Buffer.alloc(12 * 1024 * 1024, 'x'),
    Buffer.from('\nneedle 2\n'),
  ]);
  await using tree = await openImage(scratch, [{ path: 'long', content }]);
  const { matches } = await grep(tree, { pattern: ['needle'] });
  assert.equal(matches[0]?.line_text.length, 4_096);
  assert.equal(matches.at(-1)?.line_text, 'needle 2\n');
});

test('of a long line the first 4,096 bytes are shown, with the length of all of it', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, [{ path: 'f', content: `needle${'x'.repeat(10_000)}needle\n` }]);
  const { matches } = await grep(tree, { pattern: ['needle'] });
  assert.deepEqual(
    matches.map(({ line_text: line, line_bytes: bytes, submatches }) => [line.length, bytes, submatches.length]),
    [[4_096, 10_013, 1]],
  );
});

test('an expression that would take a backtracking engine forever takes no time', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, [{ path: 'f', content: `${'a'.repeat(5_000)}\n`.repeat(20) }]);
  const cpuMs = startCpuWatch();
  const { matches } = await grep(tree, { pattern: ['(a*)*b', '(a|aa)+$x', '(a?){50}a{50}c'] });
  assert.deepEqual(matches, []);
  assert.ok(cpuMs() < 2_000);
});

test('an aborted search rejects with the reason', async () => {
  await using scratch = await Scratch.create();
  await using tree = await openImage(scratch, MEMBERS);
  await assert.rejects(
    grep(tree, { pattern: ['x'] }, AbortSignal.abort(new Error('no longer wanted'))),
    /no longer wanted/u,
  );
});

type Row = [path: string, line: number, offset: number, type: string, text: string, submatches: unknown];

function ripgrep(folder: string, patterns: readonly string[], flags: readonly string[]): Row[] {
  const args = [
    '--json',
    '-uu',
    '--hidden',
    '--sort',
    'path',
    ...patterns.flatMap((pattern) => ['-e', pattern]),
    ...flags,
    '.',
  ];
  const { stdout } = spawnSync('rg', args, { cwd: folder, encoding: 'utf8' });
  const events = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { type: string; data: RipgrepLine });
  const rows = events
    .filter(({ type }) => type === 'match' || type === 'context')
    .map(({ type, data }): Row => [
      (data.path.text ?? '').replace(/^\./u, ''),
      data.line_number,
      data.absolute_offset,
      type,
      data.lines.text,
      data.submatches.map(({ match, start, end }) => ({ text: match.text, start, end })),
    ]);
  return rows.map((row) => (row[3] === 'context' ? [...row.slice(0, 5), []] : row)) as Row[];
}

interface RipgrepLine {
  readonly path: { readonly text?: string };
  readonly lines: { readonly text: string };
  readonly line_number: number;
  readonly absolute_offset: number;
  readonly submatches: readonly {
    readonly match: { readonly text: string };
    readonly start: number;
    readonly end: number;
  }[];
}
