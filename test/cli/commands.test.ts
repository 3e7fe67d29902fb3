import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { usualTag } from '../../src/cli/commands/import.ts';
import { openCli } from '../support/cli-bench.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/u;

test('images: a table for people, JSON for programs, and the next step when there are none', async () => {
  await using cli = await openCli();
  assert.match((await cli.run(['images'])).stdout, /^no images; import one with "contree import/u);
  const image = cli.contree.addImage({}, 'common/base:1');
  assert.match(
    (await cli.run(['images'])).stdout,
    new RegExp(`^TAG +IMAGE +CREATED\\ncommon/base:1 +${image} +\\d s ago\\n$`, 'u'),
  );
  const { stdout } = await cli.run(['images', '--json', '--prefix', 'common/']);
  assert.deepEqual(
    (JSON.parse(stdout) as { uuid: string }[]).map(({ uuid }) => uuid),
    [image],
  );
  assert.equal((await cli.run(['images', '--tagged', '-n', '1', '--prefix', 'other'])).code, 0);
});

test('import: prints the image, names it by its reference, and tells why it failed', async () => {
  await using cli = await openCli();
  const { code, stdout } = await cli.run(['import', 'docker://docker.io/library/python:3.11-slim', '--timeout', '9']);
  assert.equal(code, 0);
  assert.match(stdout.trim(), UUID);
  const registry = { url: 'docker://docker.io/library/python:3.11-slim' };
  assert.deepEqual(cli.contree.imported[0], { registry, tag: 'python:3.11-slim', timeout: 9 });
  assert.equal((await cli.contree.images.get('tag:python:3.11-slim')).uuid, stdout.trim());
  const failed = await cli.run(['import', 'missing']);
  assert.equal(failed.code, 9);
  assert.match(failed.stderr, /^error: .*no image missing\n\S/u);
});

test('import: credentials come from standard input, and only for this import', async () => {
  await using cli = await openCli();
  const args = ['import', 'ghcr.io/me/app', '--username', 'me', '--password-stdin', '--no-tag'];
  assert.equal((await cli.run(args, { input: 'secret\n' })).code, 0);
  const credentials = { username: 'me', password: 'secret' };
  assert.deepEqual(cli.contree.imported[0], { registry: { url: 'ghcr.io/me/app', credentials }, tag: null });
});

test('import: a local file is uploaded, a layout folder packed on the way, a missing path said', async () => {
  await using cli = await openCli();
  const file = join(cli.folder, 'app.tar');
  writeFileSync(file, 'archive');
  assert.equal((await cli.run(['import', file, '--tag', 'app', '--reference', 'app:1'])).code, 0);
  const [{ file: uuid, ...request } = assert.fail()] = cli.contree.imported as { file?: string }[];
  assert.deepEqual(request, { name: 'app.tar', tag: 'app', reference: 'app:1' });
  assert.equal((await cli.contree.uploads.get(uuid ?? '')).size, 7);
  const folder = join(cli.folder, 'layout');
  mkdirSync(join(folder, 'blobs'), { recursive: true });
  writeFileSync(join(folder, 'oci-layout'), '{}');
  writeFileSync(join(folder, 'blobs', 'x'), Buffer.alloc(100_000));
  assert.equal((await cli.run(['import', folder])).code, 0);
  assert.equal((await cli.contree.uploads.list({})).at(-1)?.size, 512 * 2 + 512 + 100_352 + 1024 - 0);
  const missing = await cli.run(['import', './nothing.tar']);
  assert.deepEqual(
    [missing.code, missing.stderr.split('\n')[0]],
    [2, 'error: not an archive we can import: ./nothing.tar does not exist'],
  );
  mkdirSync(join(cli.folder, 'plain'));
  assert.match((await cli.run(['import', join(cli.folder, 'plain')])).stderr, /has no oci-layout file/u);
});

test('usualTag: what an image is called without its registry', () => {
  assert.equal(usualTag('python:3.11-slim'), 'python:3.11-slim');
  assert.equal(usualTag('docker://docker.io/library/busybox'), 'busybox');
  assert.equal(usualTag('oci://ghcr.io/owner/app:v1'), 'owner/app:v1');
  assert.equal(usualTag('127.0.0.1:5000/debian:12'), 'debian:12');
  assert.equal(usualTag('alpine@sha256:0000'), 'alpine');
  assert.equal(usualTag('a b'), null);
});

test('ls lists a directory that is too large for one answer', async () => {
  await using cli = await openCli();
  const names = Array.from({ length: 2 * limits.entriesListedMax + 1 }, (_, at) => `${at}`.padStart(6, '0'));
  cli.contree.addImage(Object.fromEntries(names.map((name) => [`/d/${name}`, ''])), 'base');
  assert.equal((await cli.run(['ls', 'base:/d'])).stdout, names.map((name) => `${name}\n`).join(''));
});

test('ls, cat, grep and diff look into images', async () => {
  await using cli = await openCli();
  const image = cli.contree.addImage({ '/etc/passwd': 'root:x:0\n', '/etc/cron.d/a': '' }, 'base');
  assert.equal((await cli.run(['ls', 'base:/etc'])).stdout, 'cron.d/\npasswd\n');
  assert.equal((await cli.run(['ls', image, '/etc'])).stdout, 'cron.d/\npasswd\n');
  assert.match((await cli.run(['ls', '-l', 'tag:base', '/etc'])).stdout, /^-rw-r--r-- .* passwd$/mu);
  assert.equal((await cli.run(['cat', 'base', '/etc/passwd', '/etc/passwd'])).stdout, 'root:x:0\nroot:x:0\n');
  assert.equal((await cli.run(['cat', 'base:/etc/passwd'])).stdout, 'root:x:0\n');
  const found = await cli.run(['grep', 'root', 'base', '/etc']);
  assert.deepEqual([found.code, found.stdout], [0, '/etc/passwd:1:root:x:0\n']);
  assert.equal((await cli.run(['grep', 'nobody', 'base'])).code, 1);
  const child = cli.contree.addImage({ '/etc/passwd': 'root:x:0\n', '/etc/cron.d/a': '', '/new': '' });
  assert.equal((await cli.run(['diff', 'base', child])).stdout, 'A /new\n');
});

test('names that could steer a terminal are written out on one, and left alone in a pipe', async () => {
  await using cli = await openCli();
  cli.contree.addImage({ '/d/\u001b[2Jx\n\u202e': '\u001b]0;title\u0007' }, 'base');
  assert.equal((await cli.run(['ls', 'base', '/d'], { terminal: true })).stdout, '\\x1b[2Jx\\n\\u202e\n');
  assert.equal((await cli.run(['ls', 'base', '/d'])).stdout, '\u001b[2Jx\n\u202e\n');
  assert.doesNotMatch((await cli.run(['grep', 'title', 'base'], { terminal: true })).stdout, /\u001b/u);
  const failed = await cli.run(['ls', 'base', '/\u001b[31m'], { terminal: true });
  assert.doesNotMatch(failed.stderr, /\u001b/u);
});

test('tag, tree and rm', async () => {
  await using cli = await openCli();
  const image = cli.contree.addImage({}, 'base');
  const { uuid } = await cli.contree.runs.start({ command: 'touch', args: ['/x'], image });
  await Array.fromAsync(cli.contree.operations.events(uuid, { follow: true }));
  const { result_image_uuid: child } = await cli.contree.operations.get(uuid);
  assert.ok(child);
  assert.equal((await cli.run(['tag', child, 'a/b'])).stdout, `${child}\n`);
  const tree = await cli.run(['tree', 'a/b']);
  assert.equal(tree.stdout, `${image}  base  import  +0 B\n└─ ${child}  a/b  touch  +0 B  ◀\n`);
  assert.equal((JSON.parse((await cli.run(['tree', '--json'])).stdout) as { children: [] }[])[0]?.children.length, 1);
  assert.equal((await cli.run(['tag', '--delete', 'a/b'])).code, 0);
  assert.equal((await cli.run(['tag', child])).code, 2);
  const refused = await cli.run(['rm', 'base']);
  assert.deepEqual([refused.code, /in use/u.test(refused.stderr)], [5, true]);
  assert.equal((await cli.run(['rm', '--cascade', 'base'])).stdout, `${image}\n${child}\n`);
});

test('ops, show, wait and cancel', async () => {
  await using cli = await openCli();
  const image = cli.contree.addImage();
  const done = (await cli.run(['run', '--detach', image, '--', 'bytes'])).stdout.trim();
  assert.match(done, UUID);
  assert.equal((await cli.run(['wait', done])).code, 0);
  assert.match((await cli.run(['show', done])).stdout, /^status +SUCCESS$/mu);
  const output = await cli.run(['show', done, '--output']);
  assert.deepEqual(output.bytes, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
  const failing = (await cli.run(['run', '--detach', image, '--', 'exit', '3'])).stdout.trim();
  assert.equal((await cli.run(['wait', failing])).code, 3);
  assert.equal((await cli.run(['wait', done, failing])).code, 1);
  const endless = (await cli.run(['run', '--detach', image, '--', 'sleep'])).stdout.trim();
  assert.equal((await cli.run(['wait', '--any', endless, done])).code, 0);
  assert.match((await cli.run(['ops', '--active'])).stdout, new RegExp(`^${endless} +instance +EXECUTING`, 'mu'));
  assert.equal((await cli.run(['cancel', endless])).code, 0);
  assert.equal((await cli.run(['wait', endless])).code, 7);
  assert.equal((await cli.run(['cancel', endless])).code, 5);
  assert.equal((await cli.run(['ops', '--status', 'running'])).code, 2);
});

test('upload, export, gc, doctor, whoami', async () => {
  await using cli = await openCli();
  const image = cli.contree.addImage({}, 'base');
  const file = join(cli.folder, 'data');
  writeFileSync(file, 'hello');
  const uploaded = (await cli.run(['upload', file, '-'], { input: 'hello' })).stdout.trim().split('\n');
  assert.equal(uploaded.length, 2);
  assert.equal(uploaded[0], uploaded[1], 'the same content is one file');
  assert.equal((await cli.run(['upload', cli.folder])).code, 2);
  const target = join(cli.folder, 'out.tar');
  assert.equal((await cli.run(['export', 'base', '-o', target])).code, 0);
  assert.equal(readFileSync(target, 'utf8'), `layout of ${image}`);
  assert.equal((await cli.run(['export', 'base'])).stdout, `layout of ${image}`);
  assert.equal((await cli.run(['export', 'base'], { terminal: true })).code, 2);
  assert.equal((await cli.run(['export', 'base', '-o', join(cli.folder, 'no/where')])).code, 4);
  assert.deepEqual(
    readdirSync(cli.folder).filter((name) => name.includes('.part')),
    [],
  );
  assert.match(
    (await cli.run(['gc', '--older-than', '30', '--max-size', '20G', '-n'])).stdout,
    /^would free 0 B on disk, 0 B of memory/u,
  );
  assert.equal((await cli.run(['gc', '--max-size', 'huge'])).code, 2);
  assert.match((await cli.run(['doctor'])).stdout, /^✔ driver: scripted$/mu);
  assert.match((await cli.run(['whoami'])).stdout, /^may: list, spawn/u);
});

test('doctor ends with a failure when something that runs need is missing', async () => {
  await using cli = await openCli();
  const check = { name: 'QEMU', status: 'failed' as const, detail: 'not found', remedy: 'apt install qemu-system-x86' };
  cli.contree.system.doctor = async () => ({ version: '1', checks: [check] });
  const { code, stdout } = await cli.run(['doctor']);
  assert.deepEqual([code, stdout], [9, 'contree 1\n✘ QEMU: not found\n    apt install qemu-system-x86\n']);
});

test('token create, list and revoke', async () => {
  await using cli = await openCli();
  const made = await cli.run(['token', 'create', '--name', 'ci', '--expires', '90d', '--permission', 'list', 'spawn']);
  assert.match(made.stdout, /^ctr_[\w-]{43}\n$/u);
  const listed = await cli.run(['token', 'list', '--json']);
  assert.ok(!listed.stdout.includes(made.stdout.trim()));
  const [token = assert.fail()] = JSON.parse(listed.stdout) as {
    uuid: string;
    permissions: string[];
    expires_at: number;
  }[];
  assert.deepEqual(token.permissions, ['list', 'spawn']);
  assert.ok(Math.abs(token.expires_at - Date.now() / 1000 - 90 * 86_400) < 60);
  assert.equal((await cli.run(['token', 'revoke', token.uuid])).code, 0);
  assert.equal((await cli.run(['token', 'revoke', token.uuid])).code, 4);
  assert.equal((await cli.run(['token', 'create', '--expires', 'soon'])).code, 2);
  assert.equal((await cli.run(['token', 'create', '--permission', 'everything'])).code, 2);
});

test('auth registry keeps an account in a private file and never shows its secret', async () => {
  await using cli = await openCli();
  const args = ['auth', 'registry', 'registry.example.org', '--username', 'me', '--password-stdin', '--no-check'];
  assert.equal((await cli.run(args, { input: 'sekret\n' })).code, 0);
  const { stdout } = await cli.run(['auth', 'list']);
  assert.match(stdout, /^registry\.example\.org +me$/mu);
  assert.doesNotMatch(stdout, /sekret/u);
  assert.equal((await cli.run(['auth', 'remove', 'registry.example.org'])).code, 0);
  assert.match((await cli.run(['auth', 'remove', 'registry.example.org'])).stdout, /^no account/u);
  const blind = await cli.run(['auth', 'registry', 'x.example']);
  assert.match(blind.stderr, /no terminal to prompt on: give --username and --password-stdin/u);
});

test('engine status and stop', async () => {
  await using cli = await openCli();
  assert.match((await cli.run(['engine', 'status'])).stdout, new RegExp(`^process +${process.pid}$`, 'mu'));
  await cli.contree.runs.start({ command: 'sleep', image: cli.contree.addImage() });
  const busy = await cli.run(['engine', 'stop']);
  assert.deepEqual([busy.code, /--force/u.test(busy.stderr)], [5, true]);
  const stopped = await cli.run(['engine', 'stop', '--force'], { terminal: true });
  assert.deepEqual([stopped.code, /keeps the changes of open instances/u.test(stopped.stderr)], [0, true]);
  assert.match((await cli.run(['engine', 'status'])).stdout, /^no engine is running/u);
});

test('mistakes on the command line end with 2, a message and where to read on', async () => {
  await using cli = await openCli();
  for (const args of [
    ['frobnicate'],
    ['images', '--nope'],
    ['ls'],
    ['images', '-n', 'many'],
    ['--http-port', 'x', 'images'],
  ]) {
    const { code, stdout, stderr } = await cli.run(args);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
    assert.match(stderr, /^error: .+\n.*(?:--help|argument)/su, args.join(' '));
    assert.doesNotMatch(stderr, / {4}at /u);
  }
});

test('help and version are not failures', async () => {
  await using cli = await openCli();
  assert.equal((await cli.run(['--version'])).stdout, '1.2.3\n');
  assert.match((await cli.run(['--help'])).stdout, /^ {2}run \[options\]/mu);
  assert.match((await cli.run(['run', '--help'])).stdout, /--disposable/u);
  assert.match((await cli.run(['serve', '--help'])).stdout, /--accelerator <NAME>/u);
});

test('with --json a failure is one JSON value too', async () => {
  await using cli = await openCli();
  const { code, stdout, stderr } = await cli.run(['ls', 'nobody', '/', '--json']);
  const { error } = JSON.parse(stdout) as { error: { code: string; hint: string } };
  assert.deepEqual([code, error.code, stderr], [4, 'IMAGE_NOT_FOUND', '']);
});

test('a bug shows itself as one', async () => {
  await using cli = await openCli();
  cli.contree.images.list = async () => {
    throw new Error('boom');
  };
  const { code, stderr } = await cli.run(['images']);
  assert.equal(code, 70);
  assert.match(stderr, /^error: internal error \(incident /u);
});

test('cp copies a file out as a whole, a folder as a tar, and replaces what had the name', async () => {
  await using cli = await openCli();
  cli.contree.addImage({ '/etc/passwd': 'root:x:0\n' }, 'base');
  const target = join(cli.folder, 'out');
  mkdirSync(target);
  assert.equal((await cli.run(['cp', 'base:/etc/passwd', target])).code, 0);
  assert.equal(readFileSync(join(target, 'passwd'), 'utf8'), 'root:x:0\n');
  const victim = join(cli.folder, 'victim');
  writeFileSync(victim, 'mine');
  symlinkSync(victim, join(target, 'link'));
  assert.equal((await cli.run(['cp', 'base:/etc/passwd', join(target, 'link')])).code, 0);
  assert.deepEqual([readFileSync(victim, 'utf8'), readFileSync(join(target, 'link'), 'utf8')], ['mine', 'root:x:0\n']);
  assert.equal((await cli.run(['cp', 'base:/etc', target])).code, 0);
  assert.equal(readFileSync(join(target, 'etc.tar'), 'utf8'), 'tar of /etc');
  assert.equal((await cli.run(['cp', 'base:/etc', join(target, 'etc.tar')])).code, 0);
  const over = await cli.run(['cp', 'base:/etc', victim]);
  assert.deepEqual([over.code, readFileSync(victim, 'utf8')], [2, 'mine']);
  assert.match(over.stderr, /ends in \.tar/u);
  assert.equal((await cli.run(['cp', 'base:/etc/passwd', '-'])).stdout, 'root:x:0\n');
  assert.equal((await cli.run(['cp', 'base:/nope', target])).code, 4);
  assert.equal((await cli.run(['cp', 'base', target])).code, 2);
  const nowhere = await cli.run(['cp', 'base:/etc/passwd', join(target, 'no/where')]);
  assert.equal(nowhere.code, 4);
  assert.ok(nowhere.stderr.includes(`${JSON.stringify(target)} exists`), nowhere.stderr);
  assert.equal((await cli.run(['cp', 'base:/etc/passwd', '/dev/null'])).code, 2);
  assert.ok(statSync('/dev/null').isCharacterDevice(), 'a device is not replaced');
  assert.deepEqual(readdirSync(target).toSorted(), ['etc.tar', 'link', 'passwd']);
});

test('rsync prints the state that a run takes, and leaves secrets out', async () => {
  await using cli = await openCli();
  const image = cli.contree.addImage();
  const project = join(cli.folder, 'project');
  mkdirSync(join(project, 'src'), { recursive: true });
  writeFileSync(join(project, 'src', 'a.py'), 'print(1)\n');
  writeFileSync(join(project, 'b.log'), 'noise');
  writeFileSync(join(project, '.env'), 'TOKEN=1');
  const offered: string[] = [];
  const { offerDirectory } = cli.contree.uploads;
  cli.contree.uploads.offerDirectory = async (request) => {
    offered.splice(0, Infinity, ...request.entries.map(({ path }) => path));
    return offerDirectory(request);
  };
  const env = { XDG_CACHE_HOME: join(cli.folder, 'cache') };
  const synced = await cli.run(['rsync', project, '/work', '--exclude', '*.log'], { env });
  assert.match(synced.stdout, /^[0-9a-f-]{36}\n$/u, synced.stderr);
  assert.deepEqual(
    offered.filter((path) => /\.\w+$/u.test(path)),
    ['/work/src/a.py'],
  );
  const again = JSON.parse((await cli.run(['rsync', project, '/work', '-x', '*.log', '--json'], { env })).stdout) as {
    files: number;
    skipped: string[];
  };
  assert.equal(again.files, 1);
  assert.match(again.skipped.join(), /\.env/u);
  writeFileSync(join(project, '.gitignore'), '*.log\n');
  mkdirSync(join(project, '.git'));
  writeFileSync(join(project, '.git', 'HEAD'), 'ref');
  const asked = ['--git', '--no-gitignore', '--mirror', image];
  for (const [options, sent, leftOut] of [
    [[], 2, { files: 2, of: 4, places: ['.git/', 'b.log'], more: 0 }],
    [asked, 4, undefined],
  ] as const) {
    const { stdout } = await cli.run(['rsync', project, '/work', ...options, '--json'], { env });
    const report = JSON.parse(stdout) as { files: number; leftOut?: object };
    assert.deepEqual([report.files, report.leftOut], [sent, leftOut]);
  }
  assert.equal((await cli.run(['run', '--state', synced.stdout.trim(), image, 'true'])).code, 0);
  assert.equal((await cli.run(['rsync', join(cli.folder, 'nowhere'), '/work'], { env })).code, 4);
});
