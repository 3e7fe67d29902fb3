import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { isFault, type ErrorCode } from '../../src/contract/errors.ts';
import { limits } from '../../src/contract/limits.ts';
import { benchFolder, RecordingContree } from '../support/transfer-folder.ts';

const sha256 = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex');
const quiet = (): { readonly signal: AbortSignal } => ({ signal: new AbortController().signal });

test('a folder becomes a directory state: contents, modes, times, links, empty directories', async () => {
  using at = benchFolder();
  at.write('a.txt', 'one');
  at.write('bin/tool', '#!/bin/sh\n', 0o755);
  at.write('empty', '');
  mkdirSync(join(at.root, 'nothing'), { mode: 0o750 });
  symlinkSync('../a.txt', join(at.root, 'bin/link'));
  symlinkSync('/etc/shadow', join(at.root, 'far'));
  chmodSync(at.write('suid', 'x'), 0o4755);
  const report = await at.sync();
  const { offers, last } = at.contree;
  assert.deepEqual([report.files, report.uploaded, report.reused, report.bytes], [4, 4, 0, 14]);
  assert.deepEqual(report.skipped, []);
  const mtime = Date.parse('2024-05-01T12:00:00Z') / 1000;
  assert.deepEqual(last['/work/a.txt'], { path: '/work/a.txt', sha256: sha256('one'), mode: 0o644, mtime });
  assert.equal(last['/work/bin/tool']?.mode, 0o755);
  assert.equal(last['/work/suid']?.mode, 0o755, 'owned by root in there, so no set-user-id bit');
  assert.deepEqual(last['/work/nothing'], { path: '/work/nothing', mode: 0o750 });
  await at.sync([], at.root, { wholeModes: true });
  assert.equal(at.contree.last['/work/suid']?.mode, 0o4755);
  assert.deepEqual(last['/work/far'], { path: '/work/far', symlink_to: '/etc/shadow', mode: 0o777 });
  assert.equal(last['/work/bin/link']?.symlink_to, '../a.txt');
  assert.equal(offers.at(-1)?.length, 8);
});

test('unchanged files are neither read nor sent; changed, added and removed ones are noticed', async () => {
  using at = benchFolder();
  for (let index = 0; index < 200; index += 1) at.write(`d${index % 7}/f${index}`, `content ${index}`);
  const settled = await at.sync();
  assert.deepEqual([settled.uploaded, at.contree.sent], [200, 200]);
  const again = await at.sync();
  assert.deepEqual([again.uploaded, again.reused, at.contree.sent], [0, 200, 200]);
  at.write('d1/f1', 'changed!!');
  at.write('new', 'new');
  unlinkSync(join(at.root, 'd2/f2'));
  const changed = await at.sync();
  assert.deepEqual([changed.files, changed.uploaded], [200, 2]);
  assert.equal(at.contree.last['/work/d1/f1']?.sha256, sha256('changed!!'));
  assert.equal(at.contree.last['/work/d2/f2'], undefined);
});

test('a change that keeps size and modification time is noticed by the change time', async () => {
  using at = benchFolder();
  const file = at.write('a', 'before');
  await waitForTick(file);
  await at.sync();
  const { atime, mtime } = statSync(file);
  writeFileSync(file, 'after!');
  utimesSync(file, atime, mtime);
  await at.sync();
  assert.equal(at.contree.last['/work/a']?.sha256, sha256('after!'));
});

test('a file written a moment before it was read is read again next time', async () => {
  using at = benchFolder();
  const file = join(at.root, 'racy');
  for (let round = 0; round < 20; round += 1) {
    writeFileSync(file, `round ${String(round).padStart(4)}`);
    await at.sync();
    assert.equal(at.contree.last['/work/racy']?.sha256, sha256(readFileSync(file)));
  }
});

test('equal contents are sent once', async () => {
  using at = benchFolder();
  for (const name of ['a', 'b', 'c']) at.write(name, 'the same');
  for (let index = 0; index < 100; index += 1) at.write(`other/${index}`, `other ${index}`);
  const report = await at.sync();
  assert.deepEqual([report.files, report.uploaded, report.reused, at.contree.sent], [103, 101, 2, 101]);
});

test('excludes are those of gitignore, and what is excluded is not entered', async () => {
  using at = benchFolder();
  const paths = ['.git/config', '.gitignore', '.github/w.yml', 'dist/a', 'distance.py', 'build.gradle', 'x/dist/b'];
  for (const path of [...paths, 'keep/a.log', 'keep/important.log', 'n/node_modules/m/i.js', 'a+b(1)[x]']) {
    at.write(path, path === '.gitignore' ? '' : path);
  }
  chmodSync(join(at.root, 'dist'), 0o000);
  const report = await at.sync([
    '.git',
    '/dist/',
    'node_modules/',
    '*.log\n!important.log',
    '# a comment',
    'DISTANCE.py',
  ]);
  chmodSync(join(at.root, 'dist'), 0o755);
  const files = Object.values(at.contree.last).filter((entry) => entry.sha256 !== undefined);
  assert.deepEqual(files.map(({ path }) => path.slice('/work/'.length)).sort(), [
    '.github/w.yml',
    '.gitignore',
    'a+b(1)[x]',
    'build.gradle',
    'distance.py',
    'keep/important.log',
    'x/dist/b',
  ]);
  assert.deepEqual(report.skipped, [], 'entries that a rule leaves out are not reported');
  await assert.rejects(at.sync(['a\0b']), (error) => isFault(error, 'PATTERN_INVALID'));
});

test('secrets are left out and named, unless a rule wants them', async () => {
  using at = benchFolder();
  at.write('.env', 'TOKEN=x');
  at.write('.env.example', 'TOKEN=');
  at.write('sub/.npmrc', '//registry/:_authToken=abc');
  at.write('.npmrc', 'save-exact=true');
  at.write('key.txt', '-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n');
  at.write('.ssh/id_rsa', 'x');
  at.write('cert.pem', '-----BEGIN CERTIFICATE-----\nabc\n');
  const expected = ['.env', '.ssh/', 'key.txt', 'sub/.npmrc'].map((path) => `${path} (looks like a secret)`);
  assert.deepEqual((await at.sync()).skipped, expected);
  assert.deepEqual((await at.sync()).skipped, expected, 'also when the digests are known');
  assert.deepEqual(
    Object.keys(at.contree.last).sort(),
    ['.env.example', '.npmrc', 'cert.pem', 'sub'].map((path) => `/work/${path}`).sort(),
  );
  const wanted = await at.sync(['!.env', '!key.txt']);
  assert.deepEqual(wanted.skipped, ['.ssh/ (looks like a secret)', 'sub/.npmrc (looks like a secret)']);
  assert.ok('/work/.env' in at.contree.last && '/work/key.txt' in at.contree.last);
});

test('FIFOs, sockets and unreadable things are skipped and said; nothing hangs', async () => {
  using at = benchFolder();
  at.write('ok', 'ok');
  assert.equal(spawnSync('mkfifo', [join(at.root, 'pipe')]).status, 0);
  const server = createServer().listen(join(at.root, 'sock'));
  await once(server, 'listening');
  const report = await at.sync();
  server.close();
  assert.deepEqual(report.skipped, ['pipe (a FIFO)', 'sock (a socket)']);
  assert.equal(report.files, 1);
});

test('names that are not UTF-8, odd ones and long ones travel as they are', async () => {
  using at = benchFolder();
  const odd = ['new\nline', '\u001b[2J', 'back\\x5cslash', '-rf', ' ', '..data', 'ü'.repeat(127)];
  for (const name of odd) writeFileSync(join(at.root, name), name);
  writeFileSync(Buffer.concat([Buffer.from(`${at.root}/`), Buffer.from([0x66, 0xff])]), 'bytes');
  const report = await at.sync();
  assert.equal(report.files, odd.length + 1);
  assert.equal(at.contree.last['/work/f\\xff']?.sha256, sha256('bytes'));
  assert.ok('/work/back\\x5cx5cslash' in at.contree.last, 'a backslash that would read as a byte is escaped');
  assert.ok(`/work/${'ü'.repeat(127)}` in at.contree.last);
});

test('a large file is streamed; one that changes while it is sent goes as it was sent', async () => {
  using at = benchFolder();
  const large = at.write('large', Buffer.alloc(3 * 1024 * 1024, 7));
  for (let index = 0; index < 100; index += 1) at.write(`small/${index}`, `${index}`);
  // In the cache, so that another engine, which has none of them, causes them to be read once more.
  await at.sync();
  const contree = new RecordingContree();
  const { offerDirectory } = contree.uploads;
  contree.uploads.offerDirectory = async (offer) => {
    const answer = await offerDirectory(offer);
    if (contree.offers.length === 1) {
      appendFileSync(large, 'more');
      writeFileSync(join(at.root, 'small/5'), 'five');
      writeFileSync(join(at.root, 'small/6'), Buffer.alloc(limits.bulkFileBytesMax + 1));
      unlinkSync(join(at.root, 'small/7'));
    }
    return answer;
  };
  const request = { source: at.root, destination: '/work/', exclude: [] };
  const report = await at.local.sync(contree, request, quiet());
  assert.equal(contree.last['/work/large']?.sha256, sha256(readFileSync(large)));
  assert.equal(contree.last['/work/small/5']?.sha256, sha256('five'));
  assert.equal(contree.last['/work/small/6']?.sha256, sha256(Buffer.alloc(limits.bulkFileBytesMax + 1)));
  assert.equal(contree.last['/work/small/7'], undefined);
  assert.equal(report.files, 100);
});

test('a new small file goes as it was looked at, and what is written after that with the next sync', async () => {
  using at = benchFolder();
  const file = at.write('file', 'looked at');
  const contree = new RecordingContree();
  const { createMany } = contree.uploads;
  contree.uploads.createMany = async (files) => {
    if (contree.offers.length === 0) writeFileSync(file, 'written since');
    return createMany(files);
  };
  const request = { source: at.root, destination: '/work', exclude: [] };
  await at.local.sync(contree, request, quiet());
  assert.equal(contree.last['/work/file']?.sha256, sha256('looked at'));
  await at.local.sync(contree, request, quiet());
  assert.equal(contree.last['/work/file']?.sha256, sha256('written since'));
});

test('a file that grows while it is read is sent as far as it was, and said', async () => {
  using at = benchFolder();
  const log = join(at.root, 'app.log');
  writeFileSync(log, Buffer.alloc(2 * 1024 * 1024, 'x'));
  const writing = new AbortController();
  const writer = (async () => {
    while (!writing.signal.aborted) {
      appendFileSync(log, 'y');
      await new Promise(setImmediate);
    }
  })();
  const report = await at.sync();
  writing.abort();
  await writer;
  assert.equal(report.files, 1);
  assert.match(report.skipped.join(), /^app\.log \(is being written; its first \d+ bytes are sent\)$/u);
});

test('faults: no folder, a file, an invalid destination, too much, and cancelling', async () => {
  using at = benchFolder();
  at.write('d/file', 'x');
  const fails = async (source: string, code: ErrorCode, destination = '/work'): Promise<void> => {
    const sync = at.local.sync(at.contree, { source, destination, exclude: [] }, quiet());
    await assert.rejects(sync, (error) => isFault(error, code));
  };
  await fails(join(at.root, 'd/missing/deep'), 'LOCAL_FILE_NOT_FOUND');
  await fails(join(at.root, 'd/file'), 'ARGUMENT_INVALID');
  await fails('relative', 'ARGUMENT_INVALID');
  await fails(at.root, 'PATH_INVALID', 'work');
  await fails(at.root, 'PATH_INVALID', '/work/../etc');
  const cancelled = at.local.sync(
    at.contree,
    { source: at.root, destination: '/w', exclude: [] },
    { signal: AbortSignal.abort(new Error('enough')) },
  );
  await assert.rejects(cancelled, /enough/u);
  assert.equal(at.contree.offers.length, 0);
});

test('an engine that keeps losing a file is given up on', async () => {
  using at = benchFolder();
  at.write('a', 'x');
  const contree = new RecordingContree();
  contree.uploads.offerDirectory = async () => ({ missing: [sha256('x')] });
  const sync = at.local.sync(contree, { source: at.root, destination: '/w', exclude: [] }, quiet());
  await assert.rejects(sync, (error) => isFault(error, 'UPLOAD_NOT_FOUND'));
});

test('progress grows and ends at the total', async () => {
  using at = benchFolder();
  for (let index = 0; index < 150; index += 1) at.write(`${index}`, `${index}`);
  const steps: number[] = [];
  const total: (number | undefined)[] = [];
  await at.local.sync(
    at.contree,
    { source: at.root, destination: '/w', exclude: [] },
    { ...quiet(), onProgress: (step) => (steps.push(step.done), total.push(step.total)) },
  );
  assert.deepEqual(
    steps,
    steps.toSorted((left, right) => left - right),
  );
  assert.deepEqual([steps.at(-1), total.at(-1)], [300, 300]);
});

test('digests of a folder that nobody has synced for long are forgotten', async () => {
  using at = benchFolder();
  at.write('old/file', 'old');
  at.write('new/file', 'new');
  const known = (): string[] => {
    using database = new DatabaseSync(at.cache);
    return database
      .prepare('SELECT path FROM files')
      .all()
      .map(({ path }) => String(path));
  };
  await at.sync([], join(at.root, 'old'));
  assert.deepEqual(known(), [join(at.root, 'old/file')]);
  {
    using database = new DatabaseSync(at.cache);
    database.exec('UPDATE files SET seen = seen - 61');
  }
  await at.sync([], join(at.root, 'new'));
  assert.deepEqual(known(), [join(at.root, 'new/file')]);
});

test('a damaged or unwritable cache costs time, nothing else', async () => {
  using at = benchFolder();
  at.write('a', 'x');
  await at.sync();
  writeFileSync(at.cache, 'this is no database'.repeat(500));
  assert.equal((await at.sync()).files, 1);
  assert.equal((await at.sync()).files, 1);
  rmSync(join(at.cache, '..'), { recursive: true });
  writeFileSync(join(at.cache, '..'), 'a file where the folder should be');
  assert.equal((await at.sync()).files, 1);
});

test('a directory that is swapped for a link out of the root gives nothing of what is outside', async () => {
  using at = benchFolder();
  writeFileSync(join(at.outside, 'canary'), 'canary');
  at.write('d/canary', 'mine');
  at.write('keep', 'x');
  const [folder, aside] = [join(at.root, 'd'), join(at.root, 'aside')];
  const swapping = new AbortController();
  const swapper = (async () => {
    while (!swapping.signal.aborted) {
      renameSync(folder, aside);
      symlinkSync(at.outside, folder);
      await new Promise(setImmediate);
      unlinkSync(folder);
      renameSync(aside, folder);
      await new Promise(setImmediate);
    }
  })();
  for (let round = 0; round < 60; round += 1) await at.sync();
  swapping.abort();
  await swapper;
  const seen = new Set(at.contree.offers.flat().map((entry) => entry.sha256));
  assert.ok(seen.has(sha256('mine')), 'the test reached the folder');
  assert.ok(!seen.has(sha256('canary')));
});

/** Waits until the clock of the file system has moved well past the file's times. */
async function waitForTick(file: string): Promise<void> {
  while (Date.now() < statSync(file).ctimeMs + 60) await new Promise(setImmediate);
}
