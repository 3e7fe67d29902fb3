import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImageConfig } from '../src/contract/image.ts';
import { openArchive } from '../src/images/import/archive/open.ts';
import { importImage } from '../src/images/import/import-image.ts';
import { FrameDecoder } from '../src/sandbox/channel/frame.ts';
import type { StoredEvent } from '../src/store/log/event-rows.ts';
import { MIGRATIONS } from '../src/store/schema.ts';
import { Store } from '../src/store/store.ts';
import { GOLDEN } from './sandbox/channel/golden.ts';
import { openStore, scratch } from './store/bench.ts';
import { described, frozenBytes, frozenText, sparse } from './support/frozen.ts';
import { Scratch } from './support/layers.ts';

/** Rows of every frozen store, as listed in the `README.md` of the fixtures. */
const ROOT = '0b6e2f0e-6c53-4c0f-9a38-7b6c1d0a0001';
const CHILD = '0b6e2f0e-6c53-4c0f-9a38-7b6c1d0a0002';
const FILE = '0b6e2f0e-6c53-4c0f-9a38-7b6c1d0a0003';
const [RUN, FAILED, CANCELLED] = [1, 2, 3].map((last) => `0b6e2f0e-6c53-4c0f-9a38-7b6c1d0a001${last}`);
const MADE_MS = 1_700_000_000_000;
const CONFIG = ImageConfig.parse(JSON.parse(frozenText('oci-layout/1/config.json')));
const LAYERS = ['base', 'upper'].map((name) => frozenBytes(`layer/1/${name}.txt`));
const DIGESTS = LAYERS.map((bytes) => sha256(bytes));
const TREE = frozenText('layer/1/tree.txt').trimEnd().split('\n');
const CONTENT = 'old';

function sha256(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Creates a data directory as an engine with that schema left it. */
async function writeDataDirectory(directory: string, sql: string): Promise<void> {
  for (const name of ['layers', 'files']) await mkdir(join(directory, name));
  for (const [index, bytes] of LAYERS.entries()) await writeFile(join(directory, 'layers', DIGESTS[index]!), bytes);
  // Since version 3 small contents are in the database; copies of the same bytes outside of it are then garbage.
  await writeFile(join(directory, 'files', sha256(CONTENT)), CONTENT);
  const database = new DatabaseSync(join(directory, 'store.sqlite'));
  database.exec(sql);
  database.close();
}

/** Returns the schema as SQLite stores it, without insignificant spaces. */
function schemaOf(directory: string): string[] {
  const database = new DatabaseSync(join(directory, 'store.sqlite'), { readOnly: true });
  const rows = database.prepare('SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL').all() as { sql: string }[];
  database.close();
  return rows.map(({ sql }) => sql.replaceAll(/\s+/gu, ' ').replaceAll('"', '')).toSorted();
}

function frozenEvents(): StoredEvent[] {
  const lines = frozenText('event-log/1/events.jsonl').trimEnd().split('\n');
  return lines.map((line) => {
    const { bytes, ...event } = JSON.parse(line) as StoredEvent & { readonly bytes?: string };
    return {
      ...event,
      ...(bytes !== undefined && { bytes: new Uint8Array(Buffer.from(bytes, 'hex')) }),
    } as StoredEvent;
  });
}

async function checkImages(store: Store): Promise<void> {
  assert.deepEqual(
    store.images.list({}).map(({ uuid, tag }) => [uuid, tag]),
    [
      [CHILD, 'work'],
      [ROOT, 'base'],
    ],
  );
  const child = store.images.resolve('tag:work');
  assert.deepEqual([child.uuid, child.parent, child.operation, child.layers], [CHILD, ROOT, RUN, DIGESTS]);
  assert.deepEqual(child.config, CONFIG);
  const { image, ancestors } = store.images.lineage(CHILD);
  assert.deepEqual([image.command, image.exit_code, ancestors.map(({ uuid }) => uuid)], ['cat', -1, [ROOT]]);
  assert.equal(store.layers.findBySource('oci:sha256:abc')?.digest, DIGESTS[0]);
  assert.deepEqual(await described(await store.layers.files(child.layers)), TREE);
  store.tags.set('next', ROOT);
  assert.deepEqual(store.tags.of(ROOT), ['next', 'base'], 'a tag set now is newer than all before');
}

async function checkUploads(store: Store): Promise<void> {
  for (const id of [FILE, sha256(CONTENT)]) assert.equal(store.files.find(id)?.size, CONTENT.length);
  const read = await Array.fromAsync(store.files.open(FILE, AbortSignal.timeout(5_000)));
  assert.equal(Buffer.concat(read).toString(), CONTENT);
  const state = store.states.ensure('state-1');
  assert.deepEqual([state.entries, state.bytes], [1, 3]);
  assert.deepEqual(await store.states.entries('state-1'), [
    { path: '/work/old', mode: 0o640, uid: 1, gid: 2, sha256: sha256(CONTENT) },
  ]);
}

function checkOperations(store: Store): void {
  assert.deepEqual(
    store.operations.list({}).map(({ uuid, kind, status }) => [uuid, kind, status]),
    [
      [CANCELLED, 'instance', 'CANCELLED'],
      [FAILED, 'image_import', 'FAILED'],
      [RUN, 'instance', 'SUCCESS'],
    ],
  );
  const run = store.operations.get(RUN!);
  assert.deepEqual([run.image, run.resultImage, run.resultTag, run.imageBytes], [ROOT, CHILD, 'work', 4096]);
  assert.deepEqual([run.createdAtMs, run.startedAtMs, run.finishedAtMs], [MADE_MS, MADE_MS, MADE_MS + 30_000]);
  const ended = { exit_code: -1, pid: 2, signal: 9, timed_out: true };
  assert.deepEqual(run.outcome.state, { ...ended, core_dump: false, continued: false, stopped: false });
  const { error, errorCode } = store.operations.get(FAILED!);
  assert.deepEqual([error, errorCode], ['not there', 'REGISTRY_UNREACHABLE']);
  assert.deepEqual(store.events.page(RUN!, -1), frozenEvents());
}

/** Parts added by later versions of the schema. */
function checkAdditions(store: Store, version: number): void {
  const remembered = store.imports.find('sha256:abc linux/amd64');
  assert.deepEqual(remembered, version < 2 ? undefined : { layers: [DIGESTS[0]], config: CONFIG });
  const other = store.forProject('other').tags.find('base');
  assert.equal(other, version < 4 ? undefined : '0b6e2f0e-6c53-4c0f-9a38-7b6c1d0a0009');
  const found = store.recordedRuns.find({ key: 'key', sandbox: 'gvisor' }, { network: false });
  assert.equal(found, version < 7 ? undefined : RUN);
  const blobs = store.blobs.find({ below: undefined, layer: DIGESTS[0]! });
  assert.deepEqual(
    blobs.map(({ registry, bytes }) => [registry, bytes]),
    version < 5 ? [] : [['r.example', 100]],
  );
  const stayed = store.operations.instances({ all: true }).map(({ uuid }) => uuid);
  assert.deepEqual(stayed, version < 6 ? [] : [CANCELLED]);
  assert.equal(store.buildSteps.find('key-1'), version < 8 ? undefined : CHILD);
  assert.equal(store.sharedOperations.has('default', RUN!), version >= 9);
  assert.deepEqual([...store.quotas.all()], version < 10 ? [] : [['other', { runs: 2, storage_bytes: 1_000_000 }]]);
  const layerBytes = LAYERS.reduce((sum, bytes) => sum + bytes.length, 0);
  assert.equal(store.quotas.bytesOf('default'), layerBytes + CONTENT.length, 'counted when the store was migrated');
}

for (const [index] of MIGRATIONS.entries()) {
  const version = index + 1;
  test(`a store of version ${version} is read whole, and gets the schema of a new one`, async () => {
    await using place = await scratch();
    await using fresh = await openStore();
    await writeDataDirectory(place.path, frozenText(`store/${version}/store.sql`));
    await using store = await Store.open(place.path);
    assert.deepEqual(store.check(), []);
    await checkImages(store);
    await checkUploads(store);
    checkOperations(store);
    checkAdditions(store, version);
    await store[Symbol.asyncDispose]();
    await fresh.store[Symbol.asyncDispose]();
    assert.deepEqual(schemaOf(place.path), schemaOf(fresh.directory));
  });
}

test('each version of the schema is frozen, and none that does not exist', async () => {
  const frozen = await readdir(new URL('./fixtures/formats/store/', import.meta.url));
  assert.deepEqual(
    frozen.map(Number).toSorted((one, other) => one - other),
    MIGRATIONS.map((_, index) => index + 1),
  );
});

test('the rows of an event log of version 1 are read as the events they were', async () => {
  await using bench = await openStore();
  const operation = bench.store.operations.create({ kind: 'instance', request: '{}' });
  await bench.store[Symbol.asyncDispose]();
  const database = new DatabaseSync(join(bench.directory, 'store.sqlite'), { enableForeignKeyConstraints: true });
  database.exec(frozenText('event-log/1/rows.sql').replaceAll(RUN!, operation));
  database.close();
  await using store = await Store.open(bench.directory);
  assert.deepEqual(await Array.fromAsync(store.events.read(operation, { since: -1, follow: true })), frozenEvents());
});

test('layers of version 1 are read as the tree they were made of', async () => {
  await using place = await Scratch.create();
  const layers = await Promise.all(
    LAYERS.map(async (bytes) => {
      const path = place.path();
      await writeFile(path, bytes);
      return { path, bytes: bytes.length };
    }),
  );
  assert.deepEqual(await described(layers), TREE);
});

test('an OCI layout of version 1 is imported as the image it was exported from', async () => {
  await using bench = await openStore();
  await using place = await Scratch.create();
  const signal = AbortSignal.timeout(60_000);
  const bytes = frozenBytes('oci-layout/1/layout.txt');
  const path = place.path();
  await writeFile(path, bytes);
  const digest = `sha256:${sha256(bytes)}` as const;
  await using archive = await openArchive(
    { path, bytes: bytes.length, digest, name: 'frozen.tar', tmp: bench.store.tmp },
    signal,
  );
  const { layers, config } = await importImage(bench.store, archive, () => undefined, signal);
  assert.deepEqual(config, CONFIG);
  assert.deepEqual(await described(await bench.store.layers.files(layers)), TREE);
});

test('a frame of guest protocol 1 stays what it was, and the number of one that is gone is not given again', () => {
  const kindOf = (frame: Buffer): number | undefined => [...new FrameDecoder().push(frame)][0]?.kind;
  const used = new Set([...GOLDEN.values()].map(kindOf));
  const frozen = frozenText('guest-protocol/1/frames.txt').split('\n');
  for (const line of frozen.filter((text) => text !== '' && !text.startsWith('#'))) {
    const [name = '', hex = ''] = line.split(' ');
    const now = GOLDEN.get(name);
    if (now !== undefined) assert.equal(now.toString('hex'), hex, name);
    else assert.ok(!used.has(kindOf(Buffer.from(hex, 'hex'))), name);
  }
  assert.ok(frozen.length > 20);
});

test('fixtures are text that gives back the bytes it was made of', () => {
  for (const bytes of LAYERS) assert.deepEqual(sparse(bytes).split('\n')[0], `bytes ${bytes.length}`);
  const [base] = LAYERS;
  assert.equal(sparse(base!), frozenText('layer/1/base.txt'));
});
