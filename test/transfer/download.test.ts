import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault, type ErrorCode } from '../../src/contract/errors.ts';
import type { DownloadReport, DownloadRequest } from '../../src/transfer/local-files.ts';
import { benchFolder, type BenchFolder } from '../support/transfer-folder.ts';

type Download = (destination: string, more?: Partial<DownloadRequest>) => Promise<DownloadReport>;

function downloads(at: BenchFolder): Download {
  const image = at.contree.addImage({ '/out/result.txt': 'the result', '/out/we\u001bird': 'w' });
  return (destination, more) => {
    const usual = { image, path: '/out/result.txt', destination, executable: false, overwrite: true };
    return at.local.download(at.contree, { ...usual, ...more }, { signal: new AbortController().signal });
  };
}

async function refused(attempt: Promise<unknown>, code: ErrorCode, message = /./u): Promise<void> {
  await assert.rejects(attempt, (error) => isFault(error, code) && message.test(error.message));
}

/** Asserts that only the intended files are there. */
function leftovers(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.startsWith('.contree-'));
}

test('a file arrives whole, with a mode of this machine and never a set-user-id bit', async () => {
  using at = benchFolder();
  const download = downloads(at);
  const umask = process.umask();
  const plain = join(at.root, 'a');
  const report = await download(plain);
  assert.deepEqual([report.destination, report.size, report.overwritten], [plain, 10, false]);
  assert.equal(readFileSync(plain, 'utf8'), 'the result');
  assert.equal(statSync(plain).mode & 0o7777, 0o666 & ~umask);
  chmodSync(plain, 0o6755);
  const replaced = await download(plain, { executable: true });
  assert.equal(replaced.overwritten, true);
  assert.equal(statSync(plain).mode & 0o7777, 0o777 & ~umask);
  assert.deepEqual(leftovers(at.root), []);
});

test('folders that are missing on the way are made, inside the allowed folders and never through links', async () => {
  using at = benchFolder();
  const download = downloads(at);
  assert.equal((await download(join(at.root, 'no/such/file'))).destination, join(at.root, 'no/such/file'));
  assert.equal((await download(join(at.root, 'new/folder/'))).destination, join(at.root, 'new/folder/result.txt'));
  symlinkSync(at.outside, join(at.root, 'out'));
  symlinkSync(join(at.outside, 'later'), join(at.root, 'dangling'));
  for (const [path, code] of [
    ['out/new/x', 'PATH_OUTSIDE_ROOT'],
    ['../outside/new/x', 'PATH_OUTSIDE_ROOT'],
    ['dangling/new/x', 'ARGUMENT_INVALID'],
    ['new/folder/result.txt/below', 'ARGUMENT_INVALID'],
    ['new/.git/hooks/pre-commit', 'STARTUP_FILE_DENIED'],
  ] as const) {
    await refused(download(`${at.root}/${path}`), code);
  }
  assert.deepEqual(readdirSync(at.outside), []);
  assert.deepEqual(readdirSync(join(at.root, 'new')), ['folder'], 'nothing is made on the way to a refusal');
});

test('a directory takes the file under its own name', async () => {
  using at = benchFolder();
  const download = downloads(at);
  mkdirSync(join(at.root, 'd'));
  assert.equal((await download(join(at.root, 'd'))).destination, join(at.root, 'd/result.txt'));
  assert.equal((await download(at.root)).destination, join(at.root, 'result.txt'));
  assert.equal(
    (await download(`${at.root}/d/`, { path: '/out/we\u001bird' })).destination,
    join(at.root, 'd/we\u001bird'),
  );
  mkdirSync(join(at.root, 'e/result.txt'), { recursive: true });
  await refused(download(join(at.root, 'e')), 'ARGUMENT_INVALID', /directory/u);
});

test('overwrite=false keeps what is there, also what appears meanwhile', async () => {
  using at = benchFolder();
  const download = downloads(at);
  const target = at.write('there', 'mine');
  await refused(download(target, { overwrite: false }), 'DESTINATION_EXISTS');
  symlinkSync('nowhere', join(at.root, 'dangling'));
  await refused(download(join(at.root, 'dangling'), { overwrite: false }), 'DESTINATION_EXISTS');
  const late = join(at.root, 'late');
  const { read } = at.contree.files;
  at.contree.files.read = async (...call) => {
    writeFileSync(late, 'first');
    return read(...call);
  };
  await refused(download(late, { overwrite: false }), 'DESTINATION_EXISTS');
  assert.deepEqual([readFileSync(target, 'utf8'), readFileSync(late, 'utf8')], ['mine', 'first']);
  assert.deepEqual(leftovers(at.root), []);
  at.contree.files.read = read;
  assert.equal((await download(join(at.root, 'new'), { overwrite: false })).overwritten, false);
});

test('a link, a read-only file and a hard link are replaced, never written through', async () => {
  using at = benchFolder();
  const download = downloads(at);
  const canary = join(at.outside, 'canary');
  writeFileSync(canary, 'canary');
  symlinkSync(canary, join(at.root, 'link'));
  await download(join(at.root, 'link'));
  assert.ok(lstatSync(join(at.root, 'link')).isFile());
  assert.equal(readFileSync(canary, 'utf8'), 'canary');
  chmodSync(at.write('fixed', 'old'), 0o444);
  await download(join(at.root, 'fixed'));
  assert.equal(readFileSync(join(at.root, 'fixed'), 'utf8'), 'the result');
});

test('a FIFO is not replaced', async () => {
  using at = benchFolder();
  const pipe = join(at.root, 'pipe');
  assert.equal(spawnSync('mkfifo', [pipe]).status, 0);
  await refused(downloads(at)(pipe), 'ARGUMENT_INVALID', /neither a file/u);
  assert.ok(lstatSync(pipe).isFIFO());
});

test('outside of the allowed folders nothing is written: dots, links, relative paths', async () => {
  using at = benchFolder();
  const download = downloads(at);
  symlinkSync(at.outside, join(at.root, 'out'));
  mkdirSync(join(at.root, 'inner'));
  symlinkSync('inner', join(at.root, 'in'));
  const denied = [join(at.outside, 'f'), `${at.root}/../outside/f`, join(at.root, 'out/f'), `${at.root}/out/`, '/f'];
  for (const path of denied) await refused(download(path), 'PATH_OUTSIDE_ROOT', new RegExp(`\\(${at.root}\\)`, 'u'));
  await refused(download(`${at.root}x/f`), 'PATH_OUTSIDE_ROOT');
  await refused(download(`${at.outside}/no/such/folder/f`), 'PATH_OUTSIDE_ROOT');
  await refused(download('f'), 'ARGUMENT_INVALID');
  await refused(download(`${at.root}/a\0b`), 'ARGUMENT_INVALID');
  assert.deepEqual(readdirSync(at.outside), []);
  await download(join(at.root, 'in/f'));
  assert.ok(existsSync(join(at.root, 'inner/f')), 'a link that stays inside works');
});

test('a body that breaks, ends early or is cancelled leaves nothing behind', async () => {
  using at = benchFolder();
  const download = downloads(at);
  const target = at.write('kept', 'old');
  const bodies: (() => AsyncGenerator<Uint8Array>)[] = [
    async function* () {
      yield Buffer.from('half');
      throw new Error('the line broke');
    },
    async function* () {
      yield Buffer.from('half');
    },
  ];
  for (const body of bodies) {
    at.contree.files.read = async (_image, { path }) => ({ path, size: 10, body: body() });
    await assert.rejects(download(target), /the line broke|4 of 10 bytes/u);
  }
  const stop = new AbortController();
  at.contree.files.read = async (_image, { path }) => ({
    path,
    size: 10,
    body: (async function* () {
      yield Buffer.from('half');
      stop.abort(new Error('enough'));
      yield Buffer.from('second');
    })(),
  });
  const request = { image: 'i', path: '/f', destination: target, executable: false, overwrite: true };
  await assert.rejects(at.local.download(at.contree, request, { signal: stop.signal }), /enough/u);
  assert.equal(readFileSync(target, 'utf8'), 'old');
  assert.deepEqual(leftovers(at.root), []);
});

test('names as long as names get, and longer', async () => {
  using at = benchFolder();
  const download = downloads(at);
  const long = 'n'.repeat(255);
  await download(join(at.root, long));
  assert.ok(existsSync(join(at.root, long)));
  await refused(download(join(at.root, `${long}n`)), 'ARGUMENT_INVALID', /too long/u);
});

test('a parent that is swapped for a link, a thousand times: nothing lands outside', async () => {
  using at = benchFolder();
  const download = downloads(at);
  const [folder, aside] = [join(at.root, 'd'), join(at.root, 'aside')];
  mkdirSync(folder);
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
  let [written, denied] = [0, 0];
  for (let attempt = 0; attempt < 1_000; attempt += 1) {
    try {
      await download(join(folder, 'f'));
      written += 1;
    } catch (error) {
      assert.ok(isFault(error, 'PATH_OUTSIDE_ROOT', 'LOCAL_FILE_NOT_FOUND', 'ARGUMENT_INVALID'), String(error));
      denied += 1;
    }
    await new Promise(setImmediate);
  }
  swapping.abort();
  await swapper;
  assert.deepEqual(readdirSync(at.outside), []);
  assert.ok(written > 0 && denied > 0, `both happened: ${written} written, ${denied} denied`);
});
