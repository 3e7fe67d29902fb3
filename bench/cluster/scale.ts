import { randomUUID } from 'node:crypto';
import { ClusterDatabase } from '../../src/cluster/catalogue/database.ts';
import { migrate } from '../../src/cluster/catalogue/migrate.ts';
import { acceptOperations } from '../../src/cluster/catalogue/transitions.ts';
import { Membership } from '../../src/cluster/queue/membership.ts';
import { Queue } from '../../src/cluster/queue/queue.ts';
import { SILENT_LOG } from '../../src/engine/log.ts';
import { defined } from '../../src/std/assert.ts';
import { Postgres } from '../../test/cluster/support/postgres.ts';
import { skewedProjects } from '../../test/cluster/support/simulated-load.ts';
import { Simulation, type SimulatedOutcome } from '../../test/cluster/support/simulation.ts';
import { Random } from '../../test/support/random.ts';
import { sample, sampleOf, type Sample } from '../support/measure.ts';
import type { Place } from '../support/place.ts';
import type { Report } from '../support/report.ts';

const SEED = 17;
const QUEUED = 100_000;
const NODES = 1_000;
const PLACES = 8;
/** Images of all projects, and those that the disk of a node holds. */
const IMAGES = 2_000;
const IMAGES_HELD = 60;
const RUN_MS = 10_000;
const LATE_MS = 120_000;
/** Images that a node announces at most, all of which each heartbeat writes. */
const ANNOUNCED = 200;
const CALLS = 200;

async function simulate(postgres: Postgres, queued: number, tells: boolean): Promise<SimulatedOutcome> {
  const load = { count: queued, images: IMAGES, runMs: RUN_MS, lateMs: LATE_MS };
  const projects = skewedProjects(load, new Random(SEED));
  const terms = { seed: SEED, nodes: NODES, places: PLACES, imagesHeld: IMAGES_HELD, projects, tells };
  await using simulation = await Simulation.open(postgres, terms);
  return await simulation.run();
}

function lateWaits({ operations }: SimulatedOutcome): Sample {
  const late = operations.filter(({ project }) => project >= 8);
  return sampleOf(late.map(({ claimedMs, acceptedMs }) => claimedMs - acceptedMs));
}

async function properties(postgres: Postgres, report: Report): Promise<void> {
  const told = await simulate(postgres, QUEUED, true);
  const fair = told.claimFairness.toSorted((a, b) => a - b);
  report.add({
    what: 'fairness of claims between the projects that wait, lowest (Jain)',
    value: defined(fair[0], 'several'),
    unit: '',
    budget: { atLeast: 0.95 },
    note: `${fair.length} times 200 claims; of places held, mean ${told.placeFairness.toFixed(3)}: one project has runs four times as long`,
  });
  const waits = lateWaits(told);
  report.add({
    what: 'a single operation of a small project waits, p50, simulated',
    value: waits.medianMs,
    unit: 'ms',
    note: `p99 ${waits.p99Ms.toFixed(0)}, max ${waits.maxMs.toFixed(0)} ms of ${waits.count}, in steps of 100 ms; the backlog takes ${(told.simulatedMs / 1_000).toFixed(0)} s`,
  });
  report.add({
    what: 'an operation is overtaken within its project by, at most',
    value: told.overtakenMs,
    unit: 'ms',
    budget: { atMost: 2_000 },
    note: 'difference of the times of acceptance',
  });
  report.add({
    what: 'operations claimed by a node that has their image',
    value: told.hitRate * 100,
    unit: '%',
    peer: `nodes chosen by chance at the same moments ${(told.chanceRate * 100).toFixed(1)} %`,
    note: `${IMAGES} images by Zipf, ${IMAGES_HELD} on each node`,
  });
  const claims = sampleOf(told.claimsMs);
  const { length } = told.operations;
  report.add({
    what: 'claim in the simulation, p50',
    value: claims.medianMs,
    unit: 'ms',
    note: `p99 ${claims.p99Ms.toFixed(1)} ms; ${claims.count} claims for ${length} operations, ${told.emptyClaims} of them empty; ${(told.statements / length).toFixed(2)} statements for each operation`,
  });
  const blind = await simulate(postgres, QUEUED / 10, false);
  const short = await simulate(postgres, QUEUED / 10, true);
  report.add({
    what: `the same share with ${QUEUED / 10} operations`,
    value: short.hitRate * 100,
    unit: '%',
    peer: `nodes that tell nobody what they have: ${(blind.hitRate * 100).toFixed(1)} %, ${(blind.simulatedMs / 1_000).toFixed(0)} s instead of ${(short.simulatedMs / 1_000).toFixed(0)} s`,
  });
}

/** A database with nodes and a backlog, on the real clock. */
class Backlog implements AsyncDisposable {
  readonly database: ClusterDatabase;
  readonly memberships: Membership[] = [];
  readonly queues: Queue[] = [];
  /** Images of each node. */
  readonly held: string[][] = [];
  readonly images = Array.from({ length: ANNOUNCED }, () => randomUUID());
  #next = 0;

  constructor(url: string) {
    this.database = new ClusterDatabase(url, SILENT_LOG);
  }

  static async open(postgres: Postgres, nodes: number): Promise<Backlog> {
    const backlog = new Backlog(await postgres.database());
    await migrate(backlog.database);
    for (let index = 0; index < nodes; index += 1) {
      const identity = { name: `n${index}`, session: randomUUID() };
      const presence = { ...identity, owner: randomUUID(), url: 'http://n', version: '1', works: true };
      // They last as long as the section.
      const membership = new Membership(backlog.database, presence, 3_600_000);
      await membership.join();
      const held = Array.from({ length: ANNOUNCED }, () => randomUUID());
      await membership.beat(held);
      backlog.held.push(held);
      backlog.memberships.push(membership);
      backlog.queues.push(new Queue(backlog.database, identity));
    }
    return backlog;
  }

  /** Accepts operations of ten projects, each with an image that no node has. */
  async accept(count: number): Promise<void> {
    const group = 1_000;
    for (let left = count; left > 0; left -= group) {
      const operations = Array.from({ length: Math.min(left, group) }, (_, index) => ({
        uuid: randomUUID(),
        project: `p${index % 10}`,
        image: undefined,
        token: undefined,
        kind: 'instance' as const,
        stays: false,
        request: '{}',
        work: Buffer.alloc(500),
      }));
      await acceptOperations(this.database, operations);
    }
    await this.database.run('UPDATE operations SET image = gen_random_uuid() WHERE image IS NULL');
    await this.database.run('VACUUM ANALYZE');
  }

  /** Claims one operation for the next node. */
  async claim(): Promise<void> {
    this.#next = (this.#next + 1) % this.queues.length;
    await defined(this.queues[this.#next], 'a node').claim(1, this.images);
  }

  /** Extends the lease of the next node, which has got an image for an old one. */
  async beat(): Promise<void> {
    this.#next = (this.#next + 1) % this.memberships.length;
    const held = defined(this.held[this.#next], 'a node');
    held.shift();
    held.push(randomUUID());
    await defined(this.memberships[this.#next], 'a node').beat(held);
  }

  async reap(): Promise<void> {
    await defined(this.memberships[0], 'a node').reap();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.database[Symbol.asyncDispose]();
  }
}

function row(what: string, { medianMs, p99Ms }: Sample, note = ''): Parameters<Report['add']>[0] {
  return { what: `${what}, p50`, value: medianMs, unit: 'ms', note: `p99 ${p99Ms.toFixed(2)} ms${note}` };
}

/** Measures what one statement costs with many nodes and a long queue. */
async function costs(postgres: Postgres, report: Report): Promise<void> {
  for (const [nodes, queued] of [
    [10, 1_000],
    [NODES, 1_000],
    [NODES, QUEUED],
  ] as const) {
    await using backlog = await Backlog.open(postgres, nodes);
    await backlog.accept(queued);
    const which = `with ${nodes} nodes and ${queued} queued`;
    await backlog.database.run(`UPDATE operations SET created_at = now() + interval '1 hour'`);
    report.add(row(`claim ${which}, all new`, await sample(CALLS / 4, () => backlog.claim())));
    await backlog.database.run(`UPDATE operations SET created_at = now() - interval '1 hour'`);
    report.add(row(`claim ${which}`, await sample(CALLS, () => backlog.claim())));
    if (queued < QUEUED) continue;
    await held(backlog, report);
  }
}

async function held(backlog: Backlog, report: Report): Promise<void> {
  await backlog.database.run(
    `UPDATE operations SET status = 'ASSIGNED', node = 'n' || id % ${NODES}, fence = nextval('fences')
      WHERE id IN (SELECT id FROM operations WHERE status = 'PENDING' ORDER BY id LIMIT ${NODES * PLACES})`,
  );
  await backlog.database.run('VACUUM ANALYZE');
  report.add(row(`heartbeat with ${ANNOUNCED} images, one of them new`, await sample(CALLS, () => backlog.beat())));
  report.add(row(`look for lost nodes, ${NODES * PLACES} run`, await sample(CALLS, () => backlog.reap())));
  await backlog.database.transaction(async (sql) => {
    // As a backup or a forgotten session does: nothing that is claimed meanwhile can be cleaned away.
    await sql.run('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    await sql.rows('SELECT 1 FROM nodes LIMIT 1');
    await backlog.database.run(
      `UPDATE operations SET status = 'SUCCESS', finished_at = now()
        WHERE id IN (SELECT id FROM operations WHERE status = 'PENDING' ORDER BY id LIMIT 50000)`,
    );
    const slow = await sample(CALLS / 4, () => backlog.claim());
    report.add(row('claim after 50000 others, none of which was cleaned away', slow));
  });
  await backlog.database.run(`UPDATE operations SET status = 'SUCCESS', finished_at = now() WHERE status = 'PENDING'`);
  await backlog.database.run('VACUUM ANALYZE');
  report.add(row('claim from an empty queue', await sample(CALLS, () => backlog.claim())));
}

/**
 * `npm run bench -- cluster-scale`: 100,000 operations, 1,000 simulated nodes and ten projects with skewed load on the real
 * queue, and what a statement costs there. PostgreSQL does not wait for its disk: it is about the work that statements do.
 */
export async function benchClusterScale(_place: Place, report: Report): Promise<void> {
  report.section('Cluster: 100,000 queued, 1,000 nodes, ten projects');
  await using postgres = await Postgres.open();
  await costs(postgres, report);
  await properties(postgres, report);
}
