import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { collectObjects } from '../../src/cluster/catalogue/collect.ts';
import { ClusterDatabase } from '../../src/cluster/catalogue/database.ts';
import { insertImage } from '../../src/cluster/catalogue/images.ts';
import { migrate } from '../../src/cluster/catalogue/migrate.ts';
import { CatalogueObjects } from '../../src/cluster/catalogue/objects.ts';
import type { ObjectName, ObjectStore } from '../../src/cluster/objects/object-store.ts';
import { openObjects } from '../../src/cluster/objects/open.ts';
import { Janitor } from '../../src/cluster/node/janitor.ts';
import { RETRY_POLICY } from '../../src/cluster/objects/retry.ts';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { SILENT_LOG } from '../../src/engine/log.ts';
import { defined } from '../../src/std/assert.ts';
import { faults } from '../conformance/faults.ts';
import { Random } from '../support/random.ts';
import { Postgres } from './support/postgres.ts';
import { Versitygw } from './support/versitygw.ts';

const postgres = await Postgres.open();
const gateway = await Versitygw.open();
after(async () => {
  await gateway[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});
const { signal } = new AbortController();
/** Nothing is spared: what a grace period only makes rare happens all the time. */
const AT_ONCE = { spareSeconds: 0 };
let clusters = 0;

interface Cluster extends AsyncDisposable {
  readonly database: ClusterDatabase;
  readonly store: ObjectStore;
  readonly objects: CatalogueObjects;
  /** Returns the names of everything in the storage. */
  readonly stored: () => Promise<string[]>;
}

async function openCluster(): Promise<Cluster> {
  const database = new ClusterDatabase(await postgres.database(), SILENT_LOG);
  await migrate(database);
  const prefix = `cluster-${(clusters += 1)}`;
  const store = await openObjects(gateway.address(prefix), { ...RETRY_POLICY, attempts: 50 });
  const folder = join(gateway.folder, prefix, 'layers');
  return {
    database,
    store,
    objects: new CatalogueObjects(database, store),
    stored: async () => await readdir(folder).catch(() => []),
    [Symbol.asyncDispose]: async () => {
      store[Symbol.dispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

function contentOf(text: string): ObjectName & { readonly content: Buffer } {
  const content = Buffer.from(text.padEnd(100));
  const sha256 = createHash('sha256').update(content).digest('hex');
  return { key: `layers/${sha256}`, sha256, bytes: content.length, content };
}

/** Publishes an image of these layers as a node does: contents, rows of layers, then the image in a transaction. */
async function publish({ database, objects }: Cluster, texts: readonly string[]): Promise<string> {
  const layers = texts.map(contentOf).map((content) => ({ ...content, digest: content.sha256, entries: 1 }));
  for (const layer of layers) {
    await objects.put(layer, signal);
    await database.run(
      `INSERT INTO layers (digest, bytes, entries) VALUES ($1, $2, 1)
       ON CONFLICT (digest) DO UPDATE SET used_at = now()`,
      layer.digest,
      layer.bytes,
    );
  }
  const uuid = randomUUID();
  const origin = { parent: null, operation: null, command: null, exitCode: null, layerBytes: 1 };
  const image = { uuid, ...origin, config: EMPTY_IMAGE_CONFIG, layers };
  await database.transaction(async (sql) => void (await insertImage(sql, 'default', image)));
  return uuid;
}

/** Publishes until no collection comes in between. */
async function published(cluster: Cluster, texts: readonly string[]): Promise<string> {
  for (;;) {
    try {
      return await publish(cluster, texts);
    } catch (error) {
      // A row that was there a moment ago is gone: the database refuses to refer to it.
      if ((error as { code?: unknown }).code !== '23503') throw error;
    }
  }
}

async function remove({ database }: Cluster, uuid: string): Promise<void> {
  await database.run('DELETE FROM images WHERE uuid = $1', uuid);
}

/** Returns the storage with another way to delete. */
function deletingWith(store: ObjectStore, remove: ObjectStore['delete']): ObjectStore {
  return {
    check: (either) => store.check(either),
    put: (object, either) => store.put(object, either),
    putBytes: (prefix, content, either) => store.putBytes(prefix, content, either),
    read: (object, either) => store.read(object, either),
    head: (key, either) => store.head(key, either),
    delete: remove,
    list: (prefix, either) => store.list(prefix, either),
    endUploads: (beforeMs, either) => store.endUploads(beforeMs, either),
    [Symbol.dispose]: () => store[Symbol.dispose](),
  };
}

async function read({ objects }: Cluster, text: string): Promise<string> {
  const object = contentOf(text);
  return Buffer.concat(await Array.fromAsync(objects.read(object, signal))).toString();
}

test('a content goes when nothing refers to it, and not before', async () => {
  await using cluster = await openCluster();
  const { database, store, objects } = cluster;
  const [kept, gone] = [await publish(cluster, ['base', 'kept']), await publish(cluster, ['base', 'gone'])];
  await remove(cluster, gone);
  const spared = await collectObjects(database, store, { spareSeconds: 3_600 }, signal);
  assert.deepEqual(spared, { objects: 0, bytes: 0, orphans: 0, uploads: 0 }, 'it was used a moment ago');
  const collected = await collectObjects(database, store, AT_ONCE, signal);
  assert.deepEqual(collected, { objects: 1, bytes: 100, orphans: 0, uploads: 0 });
  for (const text of ['base', 'kept']) assert.equal((await read(cluster, text)).trimEnd(), text);
  await assert.rejects(read(cluster, 'gone'), faults('OBJECT_MISSING'));
  await remove(cluster, kept);
  await collectObjects(database, store, AT_ONCE, signal);
  assert.deepEqual(await cluster.stored(), []);
  await objects.put(contentOf('gone'), signal);
  assert.equal((await read(cluster, 'gone')).trimEnd(), 'gone', 'the same content is stored anew');
});

test('uploads, directory states and logs are kept by their rows', async () => {
  await using cluster = await openCluster();
  const { database, store, objects } = cluster;
  const names = ['files/', 'states/', 'logs/'].map(async (prefix) =>
    objects.putBytes(prefix, Buffer.from(prefix), signal),
  );
  const [file, state, log] = (await Promise.all(names)).map(({ sha256 }) => sha256) as [string, string, string];
  const operation = randomUUID();
  await database.run('INSERT INTO files (project, sha256, uuid, size) VALUES ($1, $2, $3, 1)', 'p', file, randomUUID());
  await database.run(
    `INSERT INTO operations (uuid, project, kind, request, log_object) VALUES ($1, 'p', 'instance', '', $2)`,
    operation,
    log,
  );
  assert.equal((await collectObjects(database, store, AT_ONCE, signal)).objects, 1, 'nothing refers to the state');
  await assert.rejects(
    database.run(
      `INSERT INTO states (project, id, object, object_bytes, entries, bytes) VALUES ('p', 's', $1, 1, 1, 1)`,
      state,
    ),
    /foreign key/u,
    'what is gone cannot be referred to',
  );
  await database.run('DELETE FROM files');
  await database.run('DELETE FROM operations WHERE uuid = $1', operation);
  assert.equal((await collectObjects(database, store, AT_ONCE, signal)).objects, 2);
});

test('a deletion that comes late, from a node that was cut off, does not meet what was stored since', async () => {
  await using cluster = await openCluster();
  const { database, store } = cluster;
  await remove(cluster, await publish(cluster, ['layer']));
  const released = Promise.withResolvers<void>();
  const cut = Promise.withResolvers<void>();
  const late = deletingWith(store, async (keys) => {
    cut.resolve();
    await released.promise;
    await store.delete(keys, signal);
  });
  // Its row is deleted, its object not yet.
  const collection = collectObjects(database, late, AT_ONCE, signal);
  await cut.promise;
  await publish(cluster, ['layer']);
  released.resolve();
  await collection;
  assert.equal((await read(cluster, 'layer')).trimEnd(), 'layer');
});

test('a collection that died in the middle leaves an object that the next one finds', async () => {
  await using cluster = await openCluster();
  const { database, store } = cluster;
  await publish(cluster, ['kept']);
  await remove(cluster, await publish(cluster, ['gone']));
  const dying = deletingWith(store, async () => Promise.reject(new Error('died')));
  await assert.rejects(collectObjects(database, dying, AT_ONCE, signal), /died/u);
  assert.equal((await cluster.stored()).length, 2);
  assert.deepEqual(await collectObjects(database, store, AT_ONCE, signal), {
    objects: 0,
    bytes: 0,
    orphans: 1,
    uploads: 0,
  });
  assert.equal((await cluster.stored()).length, 1);
});

test('publishers and collections race, and nothing that is published ever lacks a layer', async () => {
  await using cluster = await openCluster();
  const { database, store } = cluster;
  const random = new Random(17);
  const alive = new Map<string, readonly string[]>();
  const actions = { published: 0, removed: 0, checked: 0 };
  const publisher = async (): Promise<void> => {
    for (let turn = 0; turn < 25; turn += 1) {
      // Few contents, so that all want the same ones, which come and go.
      const texts = Array.from({ length: 1 + random.below(3) }, () => `layer ${random.below(6)}`);
      alive.set(await published(cluster, texts), texts);
      actions.published += 1;
      const [victim] = [...alive.keys()].slice(random.below(alive.size));
      if (alive.size > 3 && victim !== undefined) {
        alive.delete(victim);
        await remove(cluster, victim);
        actions.removed += 1;
      }
      const [image, needed] = defined([...alive].at(random.below(alive.size)), 'an image is alive');
      const contents = await Promise.allSettled(needed.map(async (text) => read(cluster, text)));
      // Only an image that was deleted meanwhile may lack a layer.
      if (!alive.has(image)) continue;
      const found = contents.map((content) =>
        content.status === 'fulfilled' ? content.value.trimEnd() : content.reason,
      );
      assert.deepEqual(found, needed);
      actions.checked += 1;
    }
  };
  const over = new AbortController();
  const collector = async (): Promise<number> => {
    let collected = 0;
    while (!over.signal.aborted) collected += (await collectObjects(database, store, AT_ONCE, signal)).objects;
    return collected;
  };
  const collectors = [collector(), collector()];
  await Promise.all(Array.from({ length: 6 }, publisher)).finally(() => {
    over.abort();
  });
  const collected = (await Promise.all(collectors)).reduce((sum, one) => sum + one, 0);
  for (const texts of alive.values())
    for (const text of texts) assert.equal((await read(cluster, text)).trimEnd(), text);
  assert.ok(collected > 0 && actions.removed > 0 && actions.checked > 0, JSON.stringify({ collected, ...actions }));
  for (const uuid of alive.keys()) await remove(cluster, uuid);
  await collectObjects(database, store, AT_ONCE, signal);
  assert.deepEqual(await cluster.stored(), [], 'and nothing is left');
});

test('one node of all collects when it is time, and one that fails lets the others go on', async () => {
  await using cluster = await openCluster();
  const { database, store } = cluster;
  await remove(cluster, await publish(cluster, ['gone']));
  await database.run(`UPDATE objects SET used_at = now() - interval '2 days'`);
  await database.run(`UPDATE layers SET used_at = now() - interval '2 days'`);
  const lines: object[] = [];
  const log = { ...SILENT_LOG, info: (line: object) => void lines.push(line) };
  const look = async (): Promise<void> => {
    const janitors = [1, 2, 3].map(() => new Janitor(database, store, log));
    for (const janitor of janitors) janitor.look();
    for (const janitor of janitors) await janitor.settled();
    for (const janitor of janitors) await janitor[Symbol.asyncDispose]();
  };
  await look();
  assert.deepEqual(lines, [], 'the cluster is new');
  await database.run(`UPDATE catalogue SET collected_at = now() - interval '7 hours'`);
  await look();
  assert.deepEqual(lines, [{ objects: 1, bytes: 100, orphans: 0, uploads: 0 }]);
  assert.deepEqual(await cluster.stored(), []);
});
