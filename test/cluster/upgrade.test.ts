import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { migrate } from '../../src/cluster/catalogue/migrate.ts';
import { CATALOGUE_MIGRATIONS } from '../../src/cluster/catalogue/schema.ts';
import { faults } from '../conformance/faults.ts';
import { finished, run, seen } from '../engine/bench.ts';
import { TestCluster } from './support/bench.ts';
import { Postgres } from './support/postgres.ts';

let postgres: Postgres;
before(async () => {
  postgres = await Postgres.open({ durable: true });
});
after(() => postgres[Symbol.asyncDispose]());

const OWNER = { project: 'default', isOwner: true } as const;

test('a newer node joins while an older one runs: that goes on, is refused when it starts again, and nothing is lost', async () => {
  await using cluster = await TestCluster.open(await postgres.database());
  const base = await cluster.addRoot();
  const older = await cluster.join('older');
  const contree = older.node.forTenant(OWNER);
  const stdin = { value: 'x', close: false };
  const { uuid } = await contree.runs.start({ command: 'cat > /kept', shell: true, image: base, stdin });
  await seen(contree, uuid, ({ type }) => type === 'spawn');
  // What the next version may do: steps only add.
  const next = [
    ...CATALOGUE_MIGRATIONS,
    'ALTER TABLE operations ADD COLUMN later text; CREATE TABLE later (uuid uuid)',
  ];
  await Promise.all([1, 2, 3].map(() => migrate(cluster.database, next)));
  await contree.processes.write(uuid, 1, { value: '', close: true });
  const ended = await finished(contree, uuid);
  assert.equal(ended.status, 'SUCCESS');
  assert.equal(
    (await run(contree, { command: 'echo x > /x', shell: true, image: ended.result!.image! })).status,
    'SUCCESS',
  );
  await assert.rejects(cluster.join('restarted'), faults('CLUSTER_VERSION_UNSUPPORTED'));
});

test('copies of the database and then of the objects, made while the cluster works, are restored on another', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'contree-copies-'));
  const [dump, objects] = [join(folder, 'database'), join(folder, 'objects')];
  const made: string[] = [];
  {
    const url = await postgres.database();
    await using cluster = await TestCluster.open(url);
    const base = await cluster.addRoot();
    const contree = (await cluster.join('first')).node.forTenant(OWNER);
    const write = async (token: number): Promise<void> => {
      const { result } = await run(contree, { command: `echo ${token} > /token`, shell: true, image: base });
      made.push(result!.image!);
    };
    for (const token of [10, 11, 12]) await write(token);
    await postgres.dump(url, dump);
    await write(13);
    await cp(cluster.objectsFolder, objects, { recursive: true });
  }
  await using restored = await TestCluster.open(await postgres.restored(dump), objects);
  const contree = (await restored.join('second')).node.forTenant(OWNER);
  const later = made.pop()!;
  for (const image of made) assert.equal((await contree.files.stat(image, { path: '/token' })).size, 3);
  await assert.rejects(contree.files.stat(later, { path: '/token' }), faults('IMAGE_NOT_FOUND'));
  assert.equal((await run(contree, { command: 'echo x > /x', shell: true, image: made[0]! })).status, 'SUCCESS');
  await rm(folder, { recursive: true });
});
