import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { ClusterDatabase } from '../../src/cluster/catalogue/database.ts';
import { CatalogueImages } from '../../src/cluster/catalogue/images.ts';
import { migrate } from '../../src/cluster/catalogue/migrate.ts';
import { CatalogueOperations } from '../../src/cluster/catalogue/operations.ts';
import type { Claim } from '../../src/cluster/catalogue/transitions.ts';
import { Membership } from '../../src/cluster/queue/membership.ts';
import { Queue } from '../../src/cluster/queue/queue.ts';
import { SILENT_LOG } from '../../src/engine/log.ts';
import { faults } from '../conformance/faults.ts';
import { Postgres } from './support/postgres.ts';

let postgres: Postgres;
before(async () => {
  postgres = await Postgres.open();
});
after(() => postgres[Symbol.asyncDispose]());

/** A node without an engine. */
interface TestNode {
  readonly name: string;
  readonly queue: Queue;
  readonly membership: Membership;
}

class TestCluster implements AsyncDisposable {
  readonly database: ClusterDatabase;
  /** Queue of a node that only accepts. */
  readonly queue: Queue;

  constructor(url: string) {
    this.database = new ClusterDatabase(url, SILENT_LOG);
    this.queue = new Queue(this.database, { name: 'accepts', session: randomUUID() });
  }

  static async open(): Promise<TestCluster> {
    const cluster = new TestCluster(await postgres.database());
    await migrate(cluster.database);
    return cluster;
  }

  async join(name: string, options: { owner?: string; leaseMs?: number } = {}): Promise<TestNode> {
    const identity = { name, session: randomUUID() };
    const presence = {
      ...identity,
      owner: options.owner ?? randomUUID(),
      url: `http://${name}`,
      version: '1',
      works: true,
    };
    const membership = new Membership(this.database, presence, options.leaseMs);
    await membership.join();
    return { name, queue: new Queue(this.database, identity), membership };
  }

  operations(project = 'p'): CatalogueOperations {
    return new CatalogueOperations(this.database, project);
  }

  /** Accepts operations of a project, with an input image if one is given, and returns their UUIDs. */
  async accept(project: string, count: number, image?: string): Promise<string[]> {
    const uuids = Array.from({ length: count }, () => randomUUID());
    if (image !== undefined) {
      const made = `INSERT INTO images (uuid, project, config, content) VALUES ($1, $2, '{}', '') ON CONFLICT DO NOTHING`;
      await this.database.run(made, image, project);
    }
    for (const uuid of uuids) {
      const request = {
        kind: 'instance',
        stays: false,
        request: '{}',
        work: Buffer.from('work'),
        token: undefined,
      } as const;
      await this.queue.accept({ uuid, project, image, ...request });
    }
    return uuids;
  }

  /** Ends the lease of a node, as time does. */
  async expire(name: string): Promise<void> {
    await this.database.run(`UPDATE nodes SET lease_until = now() - interval '1 second' WHERE name = $1`, name);
  }

  /** Makes all that waits as old as that. */
  async age(interval: string): Promise<void> {
    await this.database.run(`UPDATE operations SET created_at = created_at - $1::interval`, interval);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.database[Symbol.asyncDispose]();
  }
}

async function claimed(node: TestNode, wanted = 1, images: readonly string[] = []): Promise<string[]> {
  return (await node.queue.claim(wanted, images)).claims.map(({ operation }) => operation);
}

async function claim(node: TestNode): Promise<Claim> {
  const [first] = (await node.queue.claim(1, [])).claims;
  assert.ok(first);
  return first;
}

test('each operation goes to one node, whatever the number that ask', async () => {
  await using cluster = await TestCluster.open();
  const uuids = await cluster.accept('p', 60);
  const nodes = await Promise.all(['a', 'b', 'c', 'd'].map((name) => cluster.join(name)));
  const shares = await Promise.all(
    nodes.map(async (node) => {
      const mine: string[] = [];
      for (let got = await claimed(node, 3); got.length > 0; got = await claimed(node, 3)) mine.push(...got);
      return mine;
    }),
  );
  assert.deepEqual(shares.flat().toSorted(), uuids.toSorted());
});

test('projects take turns, whatever each of them has waiting; who comes new neither waits nor catches up', async () => {
  await using cluster = await TestCluster.open();
  await cluster.accept('large', 30);
  const node = await cluster.join('a');
  assert.equal((await claimed(node, 10)).length, 10);
  const small = new Set(await cluster.accept('small', 3));
  const order = await claimed(node, 8);
  const places = order.flatMap((uuid, place) => (small.has(uuid) ? [place] : []));
  assert.equal(places.length, 3);
  assert.ok((places[0] ?? 9) <= 1, 'its first is next');
  assert.ok((places[1] ?? 9) - (places[0] ?? 9) === 2, 'and then it is the turn of the other');
  await cluster.accept('late', 5);
  await cluster.accept('small', 5);
  const projects = await Promise.all(
    (await claimed(node, 6)).map(async (uuid) => {
      const [row] = await cluster.database.rows<{ project: string }>(
        'SELECT project FROM operations WHERE uuid = $1',
        uuid,
      );
      return row?.project ?? '';
    }),
  );
  assert.deepEqual(projects.toSorted(), ['large', 'large', 'late', 'late', 'small', 'small'], 'two each');
});

test('operations are left to a node that has their image, for a moment only', async () => {
  await using cluster = await TestCluster.open();
  const [has, lacks] = [await cluster.join('has'), await cluster.join('lacks')];
  const image = randomUUID();
  await has.membership.beat([image]);
  const [first, second] = await cluster.accept('p', 2, image);
  await cluster.age('-1 hour');
  const left = await lacks.queue.claim(1, []);
  assert.deepEqual(left, { claims: [], later: true });
  assert.deepEqual(await claimed(has, 1, [image]), [first]);
  await cluster.age('2 hours');
  assert.deepEqual(await claimed(lacks), [second], 'it has waited for long enough');
  const [third] = await cluster.accept('p', 1, image);
  await cluster.age('-1 hour');
  await cluster.expire('has');
  assert.deepEqual(await claimed(lacks), [third], 'a node without a lease is waited for by nobody');
});

test('an operation whose image is here goes first, but not before one that is much older', async () => {
  await using cluster = await TestCluster.open();
  const node = await cluster.join('a');
  const image = randomUUID();
  const [old] = await cluster.accept('p', 1);
  await cluster.age('1 minute');
  const [other] = await cluster.accept('p', 1);
  const [local] = await cluster.accept('p', 1, image);
  await cluster.database.run('UPDATE operations SET created_at = now() WHERE uuid <> $1', old ?? '');
  assert.deepEqual(await claimed(node, 3, [image]), [old, local, other]);
});

test('a claim has what its node needs; a large request is fetched by itself', async () => {
  await using cluster = await TestCluster.open();
  const image = randomUUID();
  const [small = ''] = await cluster.accept('p', 1, image);
  const [large = ''] = await cluster.accept('p', 1);
  await cluster.database.run('UPDATE operations SET work = $2 WHERE uuid = $1', large, Buffer.alloc(16 * 1024 + 1));
  const node = await cluster.join('a');
  const { claims } = await node.queue.claim(3, [image]);
  const facts = claims.map(({ operation, project, image: from, claims: count }) => [operation, project, from, count]);
  assert.deepEqual(facts, [
    [small, 'p', image, 1],
    [large, 'p', null, 1],
  ]);
  assert.deepEqual(
    claims.map(({ work }) => work?.toString()),
    ['work', undefined],
  );
  const [, second] = claims;
  assert.ok(second);
  assert.equal((await node.queue.workOf(second))?.byteLength, 16 * 1024 + 1);
});

test('nodes are told of what is accepted, unless its own will take it, and of what that one has no room for', async () => {
  await using cluster = await TestCluster.open();
  const node = await cluster.join('a');
  let heard = 0;
  const channels = ['contree_queue', 'test'];
  let told = (): void => undefined;
  await using _listener = await cluster.database.listen(channels, (channel, payload) => {
    if (channel === 'contree_queue') heard += 1;
    else if (payload === 'now') told();
  });
  /** Returns how many notifications came since the last time. */
  const news = async (): Promise<number> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    told = resolve;
    await cluster.database.run(`SELECT pg_notify('test', 'now')`);
    await promise;
    const count = heard;
    heard = 0;
    return count;
  };
  await news();
  await cluster.accept('p', 1);
  assert.equal(await news(), 1);
  const quiet = {
    project: 'p',
    kind: 'instance',
    stays: false,
    request: '{}',
    work: Buffer.of(1),
    quiet: true,
  } as const;
  for (let count = 0; count < 3; count += 1) {
    await cluster.queue.accept({ ...quiet, uuid: randomUUID(), image: undefined, token: undefined });
  }
  assert.equal(await news(), 0);
  assert.equal((await claimed(node, 2)).length, 2);
  assert.equal(await news(), 1, 'more waits than it had room for');
  assert.equal((await claimed(node, 3)).length, 2);
  assert.equal(await news(), 0);
});

test('what several operations write at once goes in one statement; one that is lost does not spoil the others', async () => {
  await using cluster = await TestCluster.open();
  await cluster.accept('p', 20);
  const node = await cluster.join('a');
  const { claims } = await node.queue.claim(20, []);
  await cluster.operations().cancel(claims[7]?.operation ?? '');
  const lost = claims.map((claim, index) => (index === 3 ? { ...claim, fence: claim.fence + 1 } : claim));
  const before = cluster.database.statements;
  const begun = await Promise.all(lost.map((claim) => node.queue.begin(claim)));
  assert.deepEqual(
    begun.flatMap((may, index) => (may ? [] : [index])),
    [3, 7],
  );
  await cluster.database.run(`UPDATE operations SET reuse_key = 'equal'`);
  const recorded = { sandbox: 'none', network: false };
  const ends = lost.map((claim) => node.queue.end(claim, { status: 'SUCCESS', recorded, outcome: {} }));
  const ended = await Promise.all(ends);
  assert.deepEqual(
    ended.flatMap((atMs, index) => (atMs === undefined ? [index] : [])),
    [3],
  );
  assert.equal(cluster.database.statements - before, 5, 'the first alone, and all that came meanwhile; twice');
  const kept = await cluster.database.rows<{ operation: string }>('SELECT operation FROM recorded_runs');
  assert.equal(kept.length, 1, 'equal runs have one record');
});

test('a node without a lease claims nothing', async () => {
  await using cluster = await TestCluster.open();
  await cluster.accept('p', 1);
  const node = await cluster.join('a');
  await cluster.expire('a');
  assert.deepEqual(await claimed(node), []);
  await node.membership.beat([]);
  assert.equal((await claimed(node)).length, 1);
});

test('what a lost node had not begun waits again; what it had begun ends, and it can write nothing more', async () => {
  await using cluster = await TestCluster.open();
  const uuids = await cluster.accept('p', 2);
  const [lost, other] = [await cluster.join('lost'), await cluster.join('other')];
  const [begun, waiting] = [await claim(lost), await claim(lost)];
  assert.equal(await lost.queue.begin(begun), true);
  assert.equal(await other.membership.reap(), 0, 'its lease lasts');
  await cluster.expire('lost');
  assert.equal(await other.membership.reap(), 2);
  const ended = await cluster.operations().get(begun.operation);
  assert.deepEqual([ended.status, ended.errorCode], ['FAILED', 'NODE_LOST']);
  const again = await claim(other);
  assert.deepEqual([again.operation, uuids.includes(again.operation)], [waiting.operation, true]);
  assert.ok(again.fence > waiting.fence);
  assert.equal(await other.queue.begin(again), true);
  // The lost node comes back and believes that both are its own.
  assert.deepEqual(await lost.membership.beat([]), [], 'its lease is extended; it has nothing');
  assert.equal(await lost.queue.begin(waiting), false);
  for (const old of [begun, waiting]) {
    assert.equal(await lost.queue.end(old, { status: 'SUCCESS' }), undefined);
    assert.equal(await lost.queue.workOf(old), undefined);
  }
  assert.ok(await other.queue.end(again, { status: 'SUCCESS' }));
  assert.equal(await other.queue.end(again, { status: 'FAILED' }), undefined, 'an end is the last');
});

test('an operation that no node manages to begin ends at last', async () => {
  await using cluster = await TestCluster.open();
  const [uuid = ''] = await cluster.accept('p', 1);
  const other = await cluster.join('other');
  let round = 0;
  for (; (await cluster.operations().get(uuid)).status !== 'FAILED'; round += 1) {
    assert.ok(round < 20);
    const node = await cluster.join('unlucky', { owner: NOBODY });
    assert.deepEqual(await claimed(node), [uuid]);
    await cluster.expire('unlucky');
    await other.membership.reap();
  }
  assert.equal((await cluster.operations().get(uuid)).errorCode, 'NODE_LOST');
});

const NOBODY = '00000000-0000-4000-8000-000000000000';

test('a name belongs to one node while its lease lasts; a node that starts again takes its own at once', async () => {
  await using cluster = await TestCluster.open();
  const owner = randomUUID();
  const first = await cluster.join('a', { owner });
  await cluster.accept('p', 1);
  const old = await claim(first);
  await assert.rejects(cluster.join('a'), faults('NODE_NAME_TAKEN'));
  const second = await cluster.join('a', { owner });
  assert.equal(await first.membership.beat([]), undefined, 'the first process is told that it is out');
  assert.deepEqual(await claimed(first), []);
  const again = await claim(second);
  assert.deepEqual([again.operation, await first.queue.begin(old)], [old.operation, false]);
  await cluster.expire('a');
  await cluster.join('a');
  assert.equal(await second.membership.beat([]), undefined);
});

test('an operation is cancelled at once while it waits; afterwards its node is asked to', async () => {
  await using cluster = await TestCluster.open();
  const [running = '', waiting = ''] = await cluster.accept('p', 2);
  const node = await cluster.join('a');
  const mine = await claim(node);
  assert.equal(mine.operation, running);
  await cluster.operations().cancel(waiting);
  assert.equal((await cluster.operations().get(waiting)).status, 'CANCELLED');
  await assert.rejects(cluster.operations().cancel(waiting), faults('OPERATION_FINISHED'));
  await assert.rejects(cluster.operations('other').cancel(running), faults('OPERATION_NOT_FOUND'));
  await cluster.operations().cancel(running);
  assert.equal(await node.queue.begin(mine), false, 'it is not begun any more');
  assert.deepEqual(await node.membership.beat([]), [{ operation: running, fence: mine.fence, cancelled: true }]);
  assert.deepEqual(await claimed(node), [], 'a cancelled one is claimed by nobody');
});

test('a claim that is given back goes to the next; one of a node that leaves does, too', async () => {
  await using cluster = await TestCluster.open();
  const [uuid] = await cluster.accept('p', 1);
  const [first, second] = [await cluster.join('a'), await cluster.join('b')];
  await first.queue.giveBack(await claim(first));
  assert.deepEqual(await claimed(first), [uuid]);
  await first.membership.leave();
  assert.deepEqual(await claimed(second), [uuid]);
  // As if it was claimed for the first in the moment it left.
  await cluster.database.run(`UPDATE operations SET node = 'a'`);
  assert.equal(await second.membership.reap(), 1);
  assert.deepEqual(await claimed(second), [uuid]);
});

test('a node announces the images that are new or gone, and after a failure all', async () => {
  await using cluster = await TestCluster.open();
  const { membership } = await cluster.join('a');
  const announced = async (): Promise<string[]> =>
    (await cluster.database.rows<{ image: string }>('SELECT image FROM node_images')).map(({ image }) => image);
  const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()];
  for (const images of [[first, second], [second, third], [second, third], [first]]) {
    await membership.beat(images);
    assert.deepEqual((await announced()).toSorted(), images.toSorted());
  }
  await assert.rejects(membership.beat([second, 'no UUID']));
  await membership.beat([third]);
  assert.deepEqual(await announced(), [third]);
});

test('an image with a waiting operation cannot be deleted, and one that is gone accepts none', async () => {
  await using cluster = await TestCluster.open();
  const images = new CatalogueImages(cluster.database, 'p');
  const image = randomUUID();
  const [uuid = ''] = await cluster.accept('p', 1, image);
  await assert.rejects(images.delete(image, { cascade: false }), faults('IMAGE_IN_USE'));
  await cluster.operations().cancel(uuid);
  assert.deepEqual(await images.delete(image, { cascade: false }), [image]);
  const gone = {
    uuid: randomUUID(),
    project: 'p',
    kind: 'instance',
    stays: false,
    request: '{}',
    work: Buffer.of(1),
  } as const;
  await assert.rejects(cluster.queue.accept({ ...gone, image, token: undefined }), faults('IMAGE_NOT_FOUND'));
});
