import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatted } from '../../src/cli/format.ts';
import { openCli } from '../support/cli-bench.ts';

test('results have the format that was asked for', async () => {
  await using cli = await openCli();
  const image = cli.contree.addImage({}, 'a,b"c'.replaceAll(/[^a-z]/gu, '-'));
  const { stdout: pretty } = await cli.run(['images', '--format', 'json-pretty']);
  assert.match(pretty, /^\[\n {2}\{\n/u);
  const { stdout: json } = await cli.run(['images', '--format=json']);
  assert.deepEqual(JSON.parse(json), JSON.parse(pretty));
  assert.equal((await cli.run(['images', '--json'])).stdout, json);
  const [header = '', row = ''] = (await cli.run(['images', '--format', 'csv'])).stdout.split('\r\n');
  assert.equal(row.split(',')[header.split(',').indexOf('uuid')], image);
  assert.match((await cli.run(['images', '--format', 'tsv'])).stdout, /^[\w]+(?:\t\w+)*\n/u);
  assert.equal((await cli.run(['images', '--format', 'xml'])).code, 2);
  const failed = await cli.run(['cat', 'none', '/x', '--format', 'json']);
  assert.deepEqual([failed.code, Object.keys(JSON.parse(failed.stdout) as object)], [4, ['error']]);
});

test('cells of CSV and TSV hold any value', () => {
  const value = [
    { a: 'x,y', b: 1 },
    { a: 'say "hi"\n', c: { d: [null] } },
    { b: null, c: 'tab\t\\' },
  ];
  assert.equal(formatted(value, 'csv'), 'a,b,c\r\n"x,y",1,\r\n"say ""hi""\n",,"{""d"":[null]}"\r\n,,tab\t\\\r\n');
  assert.equal(formatted(value, 'tsv'), 'a\tb\tc\nx,y\t1\t\nsay "hi"\\n\t\t{"d":[null]}\n\t\ttab\\t\\\\\n');
  assert.equal(formatted({ tag: 't' }, 'csv'), 'tag\r\nt\r\n');
  assert.equal(formatted(['one', 'two'], 'tsv'), 'value\none\ntwo\n');
});

test('lists are filtered by time, quiet, and whole with --all', async () => {
  await using cli = await openCli();
  const asked: Parameters<typeof cli.contree.images.list>[0][] = [];
  const { images, operations } = cli.contree;
  const listImages = images.list;
  images.list = async (query = {}) => {
    asked.push(query);
    return listImages(query);
  };
  const uuids = Array.from({ length: 5 }, () => cli.contree.addImage());
  const { stdout } = await cli.run(['images', '-q', '-n', '2', '--since', '1h', '--until', '2030-01-01T00:00:00Z']);
  assert.equal(stdout.trim().split('\n').length, 2);
  const [{ since, until, limit } = {}] = asked;
  assert.ok(Math.abs(Date.now() - 3_600_000 - (since?.getTime() ?? 0)) < 600_000, String(since));
  assert.deepEqual([until?.toISOString(), limit], ['2030-01-01T00:00:00.000Z', 2]);
  const all = await cli.run(['images', '-q', '-n', '2', '--all']);
  assert.deepEqual(all.stdout.trim().split('\n').toSorted(), uuids.toSorted());
  const wrong = await cli.run(['ops', '--since', 'yesterday']);
  assert.deepEqual([wrong.code, wrong.stderr.split(' ')[1]], [2, '--since']);
  const periods: unknown[] = [];
  const listOperations = operations.list;
  operations.list = async (query = {}) => {
    periods.push(query.until);
    return listOperations(query);
  };
  assert.equal((await cli.run(['ops', '-q', '--until', '1700000000'])).code, 0);
  assert.deepEqual(periods, [new Date(1_700_000_000_000)]);
});

test('wait ends at its timeout; --all is what has not ended; show takes several', async () => {
  await using cli = await openCli();
  const image = cli.contree.addImage();
  const start = async (...words: readonly string[]): Promise<string> =>
    (await cli.run(['run', '--detach', image, '--', ...words])).stdout.trim();
  const [done, endless] = [await start('bytes'), await start('sleep')];
  assert.equal((await cli.run(['wait', done])).code, 0);
  const late = await cli.run(['wait', endless, done, '--timeout', '1']);
  assert.equal(late.code, 124, late.stderr);
  assert.match(late.stdout, new RegExp(`^${endless} +EXECUTING +still waited for$`, 'mu'));
  assert.match(late.stdout, new RegExp(`^${done} +SUCCESS`, 'mu'));
  assert.equal((await cli.run(['wait', '--all', '--any', '--timeout', '1', '--json'])).code, 124);
  assert.equal((await cli.run(['wait', done, '--timeout', '60'])).code, 0);
  const shown = await cli.run(['show', done, endless]);
  assert.match(shown.stdout, /^status +SUCCESS[^]*\n\n[^]*^status +EXECUTING/mu);
  assert.equal((JSON.parse((await cli.run(['show', done, endless, '--json'])).stdout) as unknown[]).length, 2);
  for (const command of ['wait', 'cancel']) {
    assert.equal((await cli.run([command])).code, 2, 'nothing is named');
    assert.equal((await cli.run([command, done, '--all'])).code, 2, 'both');
  }
  const cancelled = JSON.parse((await cli.run(['cancel', '--all', '--json'])).stdout) as { cancelled: string[] };
  assert.deepEqual(cancelled.cancelled, [endless]);
  assert.equal((await cli.run(['wait', '--all'])).code, 0, 'none is left');
});

test('the manual has every command; the skill is written, replaced and removed', async () => {
  await using cli = await openCli();
  const manual = (await cli.run(['help', '--all'])).stdout;
  for (const usage of ['contree [options]', 'contree run', 'contree auth registry', 'contree profile save']) {
    assert.ok(manual.includes(`Usage: ${usage}`), usage);
  }
  assert.match((await cli.run(['help', 'auth', 'registry'])).stdout, /^Usage: contree auth registry/u);
  assert.match((await cli.run(['help', 'serve'])).stdout, /^ {2}--http-port <PORT>/mu);
  assert.equal((await cli.run(['help', 'nope'])).code, 2);
  // The command line alone, which registers only the command it names.
  assert.match((await cli.spawn(['help', 'run'])).stdout, /^Usage: contree run/u);
  const shown = (await cli.run(['skill', 'show'])).stdout;
  assert.match(shown, /^---\nname: contree\ndescription: .+\n---\n/u);
  assert.match(shown, /^\| `contree grep` \| search the files of an image \|$/mu);
  const file = join(cli.folder, '.claude/skills/contree/SKILL.md');
  for (const _ of [1, 2]) assert.equal((await cli.run(['skill', 'install'])).stdout, `${file}\n`);
  assert.equal(readFileSync(file, 'utf8'), shown);
  assert.equal((await cli.run(['skill', 'remove'])).code, 0);
  assert.ok(!existsSync(file));
});

test('profiles are kept in a private file, beside what others keep there', async () => {
  await using cli = await openCli();
  const file = join(cli.folder, 'config/contree/auth.ini');
  mkdirSync(join(cli.folder, 'config/contree'), { recursive: true });
  writeFileSync(
    file,
    '[DEFAULT]\nprofile = work\n\n[profile:work]\nurl = https://a.example\ntoken = old\nkind = jwt\n',
  );
  const save = (name: string, ...more: readonly string[]) =>
    cli.run(['profile', 'save', name, '--token-stdin', '--url', 'http://127.0.0.1:1', ...more], { input: 'sesame\n' });
  assert.notEqual((await save('local')).code, 0, 'nobody answers at that address');
  assert.doesNotMatch(readFileSync(file, 'utf8'), /local|sesame/u);
  assert.equal((await save('local', '--no-check', '--project', 'p1')).code, 0);
  assert.equal((await save('work', '--no-check')).code, 0);
  assert.equal(
    readFileSync(file, 'utf8'),
    '[DEFAULT]\nprofile = work\n\n[profile:work]\nurl = http://127.0.0.1:1\ntoken = sesame\nkind = jwt\n\n' +
      '[profile:local]\nurl = http://127.0.0.1:1\ntoken = sesame\nproject = p1\n',
  );
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const listed = await cli.run(['profile', 'list', '--profile', 'local']);
  assert.match(listed.stdout, /^ +PROFILE +SERVER +PROJECT\n +work +http:\S+ +-\n\* +local +http:\S+ +p1\n$/u);
  assert.doesNotMatch(listed.stdout, /sesame/u);
  assert.equal((await save('a]b', '--no-check')).code, 2);
  assert.equal((await cli.run(['profile', 'remove', 'local'])).code, 0);
  assert.doesNotMatch(readFileSync(file, 'utf8'), /local/u);
  assert.match((await cli.run(['profile', 'remove', 'local'])).stdout, /there is no profile local/u);
  const gone = await cli.run(['images', '--profile', 'local']);
  assert.deepEqual([gone.code, gone.stderr.split('\n')[0]], [2, 'error: setting profile: there is no profile "local"']);
  const typed = await cli.run(['profile', 'save', 'x', '--url', 'http://127.0.0.1:1']);
  assert.match(typed.stderr, /no terminal to prompt on: give --token-stdin/u);
});
