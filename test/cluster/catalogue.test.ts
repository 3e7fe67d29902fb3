import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { CatalogueImages, insertImage, setTag } from '../../src/cluster/catalogue/images.ts';
import { ClusterDatabase } from '../../src/cluster/catalogue/database.ts';
import { migrate } from '../../src/cluster/catalogue/migrate.ts';
import { CATALOGUE_MIGRATIONS } from '../../src/cluster/catalogue/schema.ts';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { SILENT_LOG } from '../../src/engine/log.ts';
import { faults, NOWHERE } from '../conformance/faults.ts';
import { Postgres } from './support/postgres.ts';

let postgres: Postgres;
before(async () => {
  postgres = await Postgres.open({ durable: true });
});
after(() => postgres[Symbol.asyncDispose]());

async function opened(): Promise<ClusterDatabase> {
  const database = new ClusterDatabase(await postgres.database(), SILENT_LOG);
  await migrate(database);
  return database;
}

async function image(database: ClusterDatabase, project: string, parent: string | null = null): Promise<string> {
  const uuid = randomUUID();
  const layer = { digest: uuid.replaceAll('-', '').padEnd(64, '0'), bytes: 1, entries: 1 };
  await database.run(`INSERT INTO objects (key, bytes, stored) VALUES ('layers/' || $1, 1, true)`, layer.digest);
  await database.run('INSERT INTO layers VALUES ($1, 1, 1)', layer.digest);
  const origin = { parent, operation: null, command: null, exitCode: null, layerBytes: 1 };
  await database.transaction((sql) =>
    insertImage(sql, project, { uuid, ...origin, config: EMPTY_IMAGE_CONFIG, layers: [layer] }),
  );
  return uuid;
}

test('nodes that start together migrate once; a catalogue of a newer version is refused', async () => {
  const url = await postgres.database();
  const nodes = Array.from({ length: 5 }, () => new ClusterDatabase(url, SILENT_LOG));
  await Promise.all(nodes.map((node) => migrate(node)));
  const [first] = nodes;
  assert.deepEqual(await first?.rows('SELECT count(*)::int FROM catalogue'), [{ count: 1 }]);
  await first?.run('UPDATE catalogue SET version = 99');
  await assert.rejects(migrate(first!), faults('CLUSTER_VERSION_UNSUPPORTED'));
  for (const node of nodes) await node[Symbol.asyncDispose]();
});

test('a transaction whose body rejects is undone, and its connection goes on', async () => {
  await using database = await opened();
  const failing = database.transaction(async (sql) => {
    await sql.run('INSERT INTO turns VALUES ($1, 1, 2)', 'a');
    throw new Error('no');
  });
  await assert.rejects(failing, /^Error: no$/u);
  assert.deepEqual(await database.rows('SELECT * FROM turns'), []);
});

test('a server that is gone is a fault that can be retried, and is used again once it is back', async () => {
  await using own = await Postgres.open({ durable: true });
  await using database = new ClusterDatabase(await own.database(), SILENT_LOG);
  await migrate(database);
  let heard = Promise.withResolvers<void>();
  await using _listening = await database.listen(['contree_queue'], () => heard.resolve());
  await heard.promise;
  await own.stop('immediate');
  await assert.rejects(database.rows('SELECT 1'), faults('CLUSTER_UNAVAILABLE'));
  heard = Promise.withResolvers<void>();
  await own.start();
  await heard.promise;
  assert.deepEqual(
    await database.rows('SELECT version FROM catalogue'),
    [{ version: CATALOGUE_MIGRATIONS.length }],
    'what was committed stays',
  );
});

test('images and tags of one project are not those of another', async () => {
  await using database = await opened();
  const [mine, other] = [new CatalogueImages(database, 'mine'), new CatalogueImages(database, 'other')];
  const root = await image(database, 'mine');
  const child = await image(database, 'mine', root);
  await mine.tag(root, 'base');
  await other.tag(await image(database, 'other'), 'base');
  assert.equal(await mine.resolve('tag:base'), root);
  await assert.rejects(other.resolve(root), faults('IMAGE_NOT_FOUND'));
  await assert.rejects(other.tag(root, 'x'), faults('IMAGE_NOT_FOUND'));
  await assert.rejects(mine.resolve('tag:bas'), (error: Error) => error.message.includes('tag:base'));
  await assert.rejects(mine.get(NOWHERE), faults('IMAGE_NOT_FOUND'));
  assert.deepEqual(
    (await mine.lineage(child)).ancestors.map(({ uuid }) => uuid),
    [root],
  );
  await assert.rejects(mine.delete(root, { cascade: false }), faults('IMAGE_IN_USE'));
  assert.deepEqual(await mine.delete(root, { cascade: true }), [child, root]);
  assert.equal((await other.list({ tagged: true })).length, 1);
});

test('of tags set at the same time one holds, and the newest comes first', async () => {
  await using database = await opened();
  const images = new CatalogueImages(database, 'p');
  const made = await Promise.all(Array.from({ length: 4 }, () => image(database, 'p')));
  await Promise.all(made.map((uuid) => images.tag(uuid, 'moving')));
  assert.ok(made.includes(await images.resolve('tag:moving')));
  const [first] = made;
  await database.transaction((sql) => setTag(sql, { project: 'p', name: 'a', image: first! }));
  await images.tag(first!, 'b');
  await images.tag(first!, 'a');
  assert.deepEqual((await images.tagsOf(first!)).slice(0, 2), ['a', 'b']);
});
