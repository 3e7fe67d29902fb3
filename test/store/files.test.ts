import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { limits } from '../../src/contract/limits.ts';
import type { DirectoryStateEntry } from '../../src/contract/file.ts';
import { collect } from '../../src/std/bytes.ts';
import { Store } from '../../src/store/store.ts';
import { body, openStore, scratch } from './bench.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const signal = (): AbortSignal => AbortSignal.timeout(5_000);

test('write() keeps one file per content', async () => {
  await using bench = await openStore();
  const { files } = bench.store;
  const first = await files.write(body('he', 'llo'));
  assert.deepEqual(first, { uuid: first.uuid, sha256: sha256('hello'), size: 5 });
  assert.deepEqual(await files.write(body('hello')), first);
  const empty = await files.write(body());
  assert.equal(empty.size, 0);
  assert.equal((await collect(files.open(first.uuid, signal()), 100)).toString(), 'hello');
  assert.equal((await collect(files.open(empty.sha256, signal()), 100)).length, 0);
  assert.deepEqual(
    files.list({}).map(({ uuid }) => uuid),
    [empty.uuid, first.uuid],
  );
  assert.equal(files.find('no such id'), undefined);
});

test('a body that fails leaves nothing', async () => {
  await using bench = await openStore();
  async function* broken(): AsyncIterable<Uint8Array> {
    yield Buffer.from('half');
    throw new Error('the client went away');
  }
  await assert.rejects(bench.store.files.write(broken()), /went away/u);
  assert.deepEqual(await readdir(bench.store.tmp), []);
  assert.deepEqual(await readdir(join(bench.directory, 'files')), []);
});

/** More bytes than the database stores itself. */
const LARGE = 'x'.repeat(200_000);

test('a file that is torn or gone is noticed when it is used, forgotten, and taken again', async () => {
  await using bench = await openStore();
  const { files, states } = bench.store;
  for (const harm of [
    (path: string) => truncate(path, 1),
    (path: string) => rm(path),
    (path: string) => writeFile(path, LARGE.replace('x', 'y')),
  ]) {
    const { sha256: digest } = await files.write(body(LARGE));
    const offer = await states.offer([{ path: '/x', sha256: digest, mode: 0o644 }]);
    await harm(join(bench.directory, 'files', digest));
    await assert.rejects(collect(files.open(digest, signal()), 1e6), (error) => isFault(error, 'UPLOAD_NOT_FOUND'));
    assert.equal(files.find(digest), undefined);
    await assert.rejects(
      states.entries(offer.state!.id),
      (error) => isFault(error, 'DIRECTORY_STATE_NOT_FOUND'),
      'a state is nothing without its files',
    );
  }
});

test('small contents are rows, large ones files; either can be had as a file', async () => {
  await using bench = await openStore();
  const { files } = bench.store;
  const [small, large] = [await files.write(body('hello')), await files.write(body(LARGE))];
  assert.deepEqual(await readdir(join(bench.directory, 'files')), [large.sha256]);
  assert.equal(await readFile(await files.asFile(small.uuid), 'utf8'), 'hello');
  assert.equal(await readFile(await files.asFile(large.uuid), 'utf8'), LARGE);
  assert.deepEqual(await readdir(bench.store.tmp), []);
  await bench.store.gc({ unusedSinceMs: Date.now() + 1_000, dryRun: false, usedBy: () => undefined });
  assert.deepEqual(await readdir(join(bench.directory, 'files')), []);
  await assert.rejects(files.asFile(small.uuid), (error) => isFault(error, 'UPLOAD_NOT_FOUND'));
});

test('many small files are stored in their order, whatever is among them', async () => {
  await using bench = await openStore();
  const { files } = bench.store;
  const contents = Array.from({ length: 300 }, (_, index) => `${index % 200}`.repeat(30_000));
  const answers = await files.writeMany(body(...contents, ''));
  assert.deepEqual(
    answers.map(({ sha256: digest }) => digest),
    [...contents, ''].map(sha256),
  );
  assert.equal(new Set(answers.map(({ uuid }) => uuid)).size, 201, 'the same content is one file');
  assert.deepEqual(await readdir(join(bench.directory, 'files')), []);
});

test('a content that the database holds wrong is noticed, and what an earlier version kept as a file is read', async () => {
  await using place = await scratch();
  const [wrong, early] = [sha256('wrong'), sha256('early')];
  {
    await using store = await Store.open(place.path);
    await store.files.writeMany(body('wrong', 'early'));
  }
  {
    using database = new DatabaseSync(join(place.path, 'store.sqlite'));
    const change = `file_contents SET bytes = x'00' WHERE file = (SELECT id FROM files WHERE sha256 = '${wrong}')`;
    database.exec(`UPDATE ${change}`);
    database.exec(`DELETE FROM file_contents WHERE file = (SELECT id FROM files WHERE sha256 = '${early}')`);
    await writeFile(join(place.path, 'files', early), 'early');
  }
  await using store = await Store.open(place.path);
  const read = async (digest: string): Promise<string> =>
    (await collect(store.files.open(digest, signal()), 100)).toString();
  await assert.rejects(read(wrong), (error) => isFault(error, 'UPLOAD_NOT_FOUND'));
  assert.equal(store.files.find(wrong), undefined);
  assert.equal(await read(early), 'early');
});

test('offer() says what is missing, then makes the state, once per content', async () => {
  await using bench = await openStore();
  const { files, states } = bench.store;
  const entries: DirectoryStateEntry[] = [
    { path: '/app', mode: 0o755 },
    { path: '/app/a', sha256: sha256('a'), mode: 0o644, mtime: 1_700_000_000 },
    { path: '/app/link', symlink_to: 'a', mode: 0o777 },
    { path: '/app/b', sha256: sha256('b'), mode: 0o644 },
  ];
  await files.write(body('a'));
  assert.deepEqual(await states.offer(entries), { missing: [sha256('b')] });
  await files.write(body('b'));
  const { state, missing } = await states.offer(entries);
  assert.deepEqual(missing, []);
  assert.deepEqual([state?.entries, state?.bytes], [4, 2]);
  assert.match(state?.id ?? '', /^[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/u);
  assert.equal((await states.offer(entries.toReversed())).state?.id, state?.id);
  assert.deepEqual(
    (await states.entries(state!.id)).map(({ path }) => path),
    ['/app', '/app/a', '/app/b', '/app/link'],
  );
  const changed = await states.offer(entries.map((entry) => ({ ...entry, mode: 0o600 })));
  assert.notEqual(changed.state?.id, state?.id);
});

test('offer() asks again for a file that lost its bytes', async () => {
  await using bench = await openStore();
  const { files, states } = bench.store;
  const { sha256: digest } = await files.write(body(LARGE));
  await truncate(join(bench.directory, 'files', digest), 2);
  assert.deepEqual(await states.offer([{ path: '/x', sha256: digest, mode: 0o644 }]), { missing: [digest] });
});

test('offer() refuses entries that cannot be injected', async () => {
  await using bench = await openStore();
  const bad: Partial<DirectoryStateEntry>[] = [
    { path: 'relative' },
    { path: '/a/../b' },
    { path: '/a//b' },
    { path: '/a/' },
    { path: '/a\0b' },
    { path: `/${'x'.repeat(256)}` },
    { path: `/${'x/'.repeat(3_000)}x` },
    { path: '/a', sha256: sha256('x'), symlink_to: 'b' },
    { path: '/a', symlink_to: '' },
    { path: '/a', sha256: '../../etc/passwd' },
  ];
  for (const entry of bad) {
    await assert.rejects(
      bench.store.states.offer([{ path: '/x', mode: 0o644, ...entry }]),
      (error) => isFault(error, 'PATH_INVALID', 'UPLOAD_NOT_FOUND'),
      JSON.stringify(entry).slice(0, 80),
    );
  }
  const most = limits.directoryStateEntriesMax;
  const tooMany = Array.from({ length: most + 1 }, () => ({ path: '/x', mode: 0o644 }));
  await assert.rejects(bench.store.states.offer(tooMany), (error) => isFault(error, 'LAYER_LIMIT'));
  // As many as allowed are looked at: these are refused because they have one path.
  await assert.rejects(bench.store.states.offer(tooMany.slice(1)), (error) => isFault(error, 'PATH_INVALID'));
  const twice = { path: '/x', mode: 0o644 };
  await assert.rejects(bench.store.states.offer([twice, twice]), (error) => isFault(error, 'PATH_INVALID'));
});

test('a state of many entries, with quotes and brackets in their names, is read as it was offered', async () => {
  await using bench = await openStore();
  const { states } = bench.store;
  const entries = Array.from({ length: 20_000 }, (_, at) => ({
    path: `/${String(at).padStart(6, '0')}},{"path":"ü\\${'x'.repeat(at % 50)}`,
    mode: 0o755,
  }));
  const { state } = await states.offer(entries);
  assert.equal(state?.entries, entries.length);
  assert.deepEqual(await states.entries(state.id), entries);
});
