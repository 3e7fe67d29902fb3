import assert from 'node:assert/strict';
import { mkdtemp, open, readFile, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '../../../src/contract/errors.ts';
import { loadSealed, packFile, type PackedFile } from '../../../src/sandbox/microvm/template/sealed-file.ts';

const HELPER = join(import.meta.dirname, '../../../guest/dist/contree-host-helper');
const PAGE = 4_096;
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

interface Packed extends AsyncDisposable {
  readonly memory: Buffer;
  readonly path: string;
  readonly record: PackedFile;
  open(): Promise<FileHandle>;
}

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'contree-ram-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** 9 MiB of memory with some pages that are not zero, packed. */
async function packed(): Promise<Packed> {
  const folder = await temporaryFolder();
  const memory = Buffer.alloc(9 * 1024 ** 2);
  // At the start, at the end, several in a row, and across the boundary of the pieces it is read in.
  for (const page of [0, 7, 8, 9, 1_023, 1_024, 2_303])
    memory.fill((page % 250) + 1, page * PAGE + 5, (page + 1) * PAGE);
  await writeFile(join(folder.path, 'live'), memory);
  const path = join(folder.path, 'packed');
  await using target = await open(path, 'wx');
  const record = await packFile(join(folder.path, 'live'), target, HELPER, soon());
  return {
    memory,
    path,
    record,
    open: () => open(path, 'r'),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

test('packFile() keeps the pages that are not zero, in runs', async () => {
  await using ram = await packed();
  assert.deepEqual(ram.record.runs, [0, 1, 7, 3, 1_023, 2, 2_303, 1]);
  assert.equal(ram.record.bytes, ram.memory.length);
  assert.equal((await readFile(ram.path)).length, 7 * PAGE);
});

test('loadSealed() gives the memory back', async () => {
  await using ram = await packed();
  await using file = await ram.open();
  await using loaded = await loadSealed(file, ram.record, HELPER, soon());
  assert.ok((await readFile(`/proc/self/fd/${loaded.fd}`)).equals(ram.memory));
});

test('what loadSealed() gives can be opened for writing, as QEMU insists, but never written, cut or grown', async () => {
  await using ram = await packed();
  await using file = await ram.open();
  await using loaded = await loadSealed(file, ram.record, HELPER, soon());
  await using writable = await open(`/proc/self/fd/${loaded.fd}`, 'r+');
  for (const attack of [
    () => writable.write('x', 0),
    () => writable.truncate(0),
    () => writable.truncate(ram.memory.length * 2),
  ]) {
    await assert.rejects(attack(), { code: 'EPERM' });
  }
  await assert.rejects(open(`/proc/self/fd/${loaded.fd}`, 'w'), { code: 'EPERM' });
  assert.ok((await readFile(`/proc/self/fd/${loaded.fd}`)).equals(ram.memory));
});

test('loadSealed() refuses memory that was damaged or cut', async () => {
  await using ram = await packed();
  const good = await readFile(ram.path);
  const flipped = Buffer.from(good);
  flipped[PAGE * 3] = (flipped[PAGE * 3] ?? 0) ^ 1;
  for (const bad of [flipped, good.subarray(0, -1)]) {
    await writeFile(ram.path, bad);
    await using file = await ram.open();
    await assert.rejects(loadSealed(file, ram.record, HELPER, soon()), (error) => isFault(error, 'STORE_CORRUPT'));
  }
});

test('loadSealed() says so when there is no helper', async () => {
  await using ram = await packed();
  await using file = await ram.open();
  await assert.rejects(loadSealed(file, ram.record, '/nonexistent/helper', soon()), { code: 'ENOENT' });
});

test('packFile() does not read the holes of memory, which are most of it', async () => {
  await using folder = await temporaryFolder();
  const live = join(folder.path, 'live');
  {
    await using file = await open(live, 'wx');
    await file.truncate(64 * 1024 ** 3);
    await file.write(Buffer.alloc(PAGE, 1), 0, PAGE, 32 * 1024 ** 3);
  }
  await using target = await open(join(folder.path, 'packed'), 'wx');
  const { runs, bytes } = await packFile(live, target, HELPER, soon());
  assert.deepEqual(runs, [(32 * 1024 ** 3) / PAGE, 1]);
  assert.equal(bytes, 64 * 1024 ** 3);
});
