import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { leftOutText } from '../../src/transfer/left-out.ts';
import type { SyncRequest } from '../../src/transfer/local-files.ts';
import { Random } from '../support/random.ts';
import { benchFolder, type BenchFolder } from '../support/transfer-folder.ts';

// What the developer configured for git on this machine has no part in the tests.
const config = mkdtempSync(join(tmpdir(), 'contree-git-'));
process.env['GIT_CONFIG_NOSYSTEM'] = '1';
process.env['GIT_CONFIG_GLOBAL'] = join(config, 'gitconfig');
after(() => rmSync(config, { recursive: true }));

/** Writes git's configuration of the user and an ignore file for all repositories. */
function configure(text: string, rules: string): string {
  const file = join(config, 'ignore');
  writeFileSync(join(config, 'gitconfig'), text);
  writeFileSync(file, rules);
  return file;
}

/** Syncs a folder below the root, and returns the paths of the files that arrive and the report. */
async function sync(at: BenchFolder, request: Partial<SyncRequest> = {}, below = '', local = at.local) {
  const source = join(at.root, below);
  const whole = { source, destination: '/work', exclude: [], ...request };
  const report = await local.sync(at.contree, whole, { signal: new AbortController().signal });
  const paths = Object.values(at.contree.last).filter(({ sha256 }) => sha256 !== undefined);
  return { report, paths: paths.map(({ path }) => path.slice('/work/'.length)).toSorted() };
}

test('what git ignores is left out and counted: nested files, negation, info/exclude, .git itself', async () => {
  using at = benchFolder();
  at.write('.git/HEAD', 'ref: refs/heads/main');
  at.write('.git/info/exclude', '*.swp\n');
  at.write('.gitignore', '# comment\n\nnode_modules/\n*.log\n!keep.log\n/dist\n');
  for (let index = 0; index < 30; index += 1) at.write(`node_modules/pkg-${index % 3}/${index}.js`, 'x');
  for (const path of ['a.js', 'a.log', 'keep.log', 'a.swp', 'dist/a', 'src/dist/b', 'src/node_modules/c'])
    at.write(path, path);
  at.write('src/.gitignore', '/only-here\n!special.log\n*.tmp\nsub/deep\n');
  for (const path of ['only-here', 'special.log', 'a.tmp', 'sub/deep', 'sub/only-here']) at.write(`src/${path}`, path);
  const { report, paths } = await sync(at);
  const wanted = [
    '.gitignore',
    'a.js',
    'keep.log',
    'src/.gitignore',
    'src/dist/b',
    'src/special.log',
    'src/sub/only-here',
  ];
  assert.deepEqual(paths, wanted);
  const { leftOut } = report;
  assert.deepEqual([leftOut?.files, leftOut?.of, leftOut?.places[0], leftOut?.more], [39, 46, 'node_modules/', 4]);
  assert.match(leftOutText(leftOut!), /^39 of 46 files, in node_modules\/, \.git\/, .* and 4 more$/u);
});

test('all of it comes when asked for; rules of the user go first', async () => {
  using at = benchFolder();
  at.write('.gitignore', 'dist/\n*.log\n');
  for (const path of ['.git/HEAD', 'dist/a', 'b.log', 'c']) at.write(path, path);
  assert.deepEqual((await sync(at)).paths, ['.gitignore', 'c']);
  assert.deepEqual((await sync(at, { gitignore: false })).paths, ['.gitignore', 'b.log', 'c', 'dist/a']);
  assert.deepEqual((await sync(at, { git: true })).paths, ['.git/HEAD', '.gitignore', 'c']);
  assert.deepEqual((await sync(at, { exclude: ['!.git', '!dist'] })).paths, ['.git/HEAD', '.gitignore', 'c', 'dist/a']);
  assert.deepEqual((await sync(at, { gitignore: false, exclude: ['*.log'] })).paths, ['.gitignore', 'c', 'dist/a']);
  const { report } = await sync(at, { gitignore: false, git: true });
  assert.equal(report.leftOut, undefined);
});

test('a part of a repository obeys the rules above it; a folder that is ignored itself was asked for', async () => {
  using at = benchFolder();
  at.write('.git/HEAD', 'ref');
  at.write('.gitignore', '*.log\n/packages/a/out\nbuild/\n');
  at.write('packages/.gitignore', 'tmp\n');
  for (const path of ['x', 'x.log', 'out/y', 'tmp/z', 'build/w', 'sub/out/v']) at.write(`packages/a/${path}`, path);
  assert.deepEqual((await sync(at, {}, 'packages/a')).paths, ['sub/out/v', 'x']);
  at.write('build/result.log', 'wanted');
  assert.deepEqual((await sync(at, {}, 'build')).paths, ['result.log']);
});

test('files of rules that are no such files are no rules', async () => {
  using at = benchFolder();
  mkdirSync(join(at.root, 'a/.gitignore'), { recursive: true });
  writeFileSync(join(at.outside, 'rules'), '*\n');
  at.write('b/c', 'c');
  symlinkSync(join(at.outside, 'rules'), join(at.root, 'b/.gitignore'));
  at.write('.gitignore', Buffer.from([0xff, 0x00, 0x0a, 0x5b, 0x0a]));
  assert.deepEqual((await sync(at)).paths, ['.gitignore', 'b/c']);
});

test('the user has rules for all repositories, which every other rule goes before', async () => {
  using at = benchFolder();
  at.write('.git/HEAD', 'ref');
  at.write('.gitignore', '!keep.swp\n');
  for (const path of ['a.swp', 'keep.swp', 'top/x', 'sub/top/y', 'named']) at.write(path, path);
  const rules = '*.swp\n/top\n!.git\n';
  const userIgnoreFile = configure('', rules);
  const local = at.localOf({ namedBy: 'model', userIgnoreFile });
  assert.deepEqual((await sync(at, {}, '', local)).paths, ['.gitignore', 'keep.swp', 'named', 'sub/top/y']);
  const { paths } = await sync(at, { exclude: ['!a.swp'] }, '', local);
  assert.deepEqual(paths, ['.gitignore', 'a.swp', 'keep.swp', 'named', 'sub/top/y']);
  assert.equal((await sync(at, { gitignore: false }, '', local)).paths.length, 6);
  assert.deepEqual((await sync(at, {}, 'top', local)).paths, ['x']);

  // The file that git is configured with comes in place of the usual one; one that a repository configures does not.
  writeFileSync(join(config, 'own'), 'named\n');
  configure(`[core]\n\texcludesFile = ${join(config, 'own')}\n`, rules);
  at.write('.git/config', `[core]\n\texcludesFile = ${userIgnoreFile}\n`);
  assert.ok(!(await sync(at, {}, '', local)).paths.includes('named'));
  assert.ok((await sync(at, {}, '', local)).paths.includes('a.swp'));
  for (const value of ['/dev/zero', join(config, 'nothing'), 'relative', config]) {
    configure(`[core]\n\texcludesFile = ${value}\n`, rules);
    assert.equal((await sync(at, {}, '', local)).paths.length, 6, value);
  }
});

/** Makes a tree with rules at random, of few names so that they often meet. */
function randomTree(at: BenchFolder, random: Random): void {
  const names = ['a', 'b', 'c.log', 'd e', '[f]', 'build'];
  const name = (): string => names[random.below(names.length)] ?? 'a';
  const path = (): string => Array.from({ length: 1 + random.below(3) }, name).join('/');
  const folders = [''];
  for (let index = 0; index < 25; index += 1) {
    const file = `${path()}/file${random.below(3)}${random.below(2) === 0 ? '.log' : ''}`;
    at.write(file, 'x');
    folders.push(file.slice(0, file.lastIndexOf('/') + 1));
  }
  for (let index = 0; index < 4; index += 1) {
    const rules = Array.from({ length: 3 }, () => {
      const patterns = [
        name(),
        `/${path()}`,
        `${path()}/`,
        '*.log',
        `**/${name()}`,
        `${name()}/**`,
        'file[01]',
        'file?',
      ];
      return `${random.below(3) === 0 ? '!' : ''}${patterns[random.below(patterns.length)]}`;
    });
    at.write(`${folders[random.below(folders.length)]}.gitignore`, rules.join('\n'));
  }
}

test('the files of a sync are those that git would add', async () => {
  for (let seed = 0; seed < 12; seed += 1) {
    using at = benchFolder();
    execFileSync('git', ['init', '-q', at.root]);
    randomTree(at, new Random(seed));
    configure(`[core]\n\texcludesFile = ${join(config, 'ignore')}\n`, '[a]\n/b/c.log\n!*.log\n');
    const local = at.localOf({ namedBy: 'user', userIgnoreFile: join(config, 'nothing') });
    const args = ['-C', at.root, 'ls-files', '-z', '--others', '--exclude-standard'];
    const known = execFileSync('git', args, { encoding: 'utf8' }).split('\0').filter(Boolean).toSorted();
    assert.deepEqual((await sync(at, {}, '', local)).paths, known, `seed ${seed}`);
  }
});
