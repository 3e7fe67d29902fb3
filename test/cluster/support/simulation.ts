import assert from 'node:assert/strict';
import { ClusterDatabase } from '../../../src/cluster/catalogue/database.ts';
import { migrate } from '../../../src/cluster/catalogue/migrate.ts';
import {
  acceptOperations,
  beginOperations,
  endOperations,
  type Claim,
} from '../../../src/cluster/catalogue/transitions.ts';
import { Membership } from '../../../src/cluster/queue/membership.ts';
import { Queue } from '../../../src/cluster/queue/queue.ts';
import { SILENT_LOG } from '../../../src/engine/log.ts';
import { defined } from '../../../src/std/assert.ts';
import { Random } from '../../support/random.ts';
import type { Postgres } from './postgres.ts';
import { fairness, imageOf, uuidOf, type SimulatedProject } from './simulated-load.ts';

/** Step of the simulated time; what happens within one goes in one statement, as on a busy node. */
const TICK_MS = 100;
/** Time after which a node looks although nothing was heard, and while something was left to others, as in `Worker`. */
const LOOK_MS = 1_000;
const LOOK_AGAIN_MS = 100;
/** Lease of the simulated nodes: longer than usual, so that the simulation is not mostly heartbeats. */
const LEASE_MS = 80_000;
/** Time to fetch an image that a node does not have. */
const FETCH_MS = 2_000;
/** Time after which an operation waits for its turn only, and no longer for a node with its image. */
const OUTWAITED_MS = 500;
/** Claims over which the shares of projects are compared. */
const WINDOW = 200;

export interface SimulationTerms {
  readonly seed: number;
  readonly nodes: number;
  /** Runs at once on each node. */
  readonly places: number;
  /** Images that the disk of a node holds. */
  readonly imagesHeld: number;
  readonly projects: readonly SimulatedProject[];
  /** False for nodes that tell nobody which images they have, so that operations are placed blindly. */
  readonly tells: boolean;
}

interface Operation {
  readonly uuid: string;
  readonly project: number;
  readonly image: string;
  readonly runMs: number;
  readonly acceptedMs: number;
  claimedMs?: number;
  hit?: boolean;
}

interface Node {
  readonly name: string;
  readonly queue: Queue;
  readonly membership: Membership;
  /** Images that it has, used last at the end. */
  readonly held: Set<string>;
  free: number;
  lookMs: number;
}

export interface SimulatedOutcome {
  readonly operations: readonly Required<Operation>[];
  /** Share of claims by a node that had the image, and the share that nodes chosen by chance would have had it. */
  readonly hitRate: number;
  readonly chanceRate: number;
  /** Jain's index over the claims of the projects that waited for their turns all the time, for each 200 claims. */
  readonly claimFairness: readonly number[];
  /** The same over the places that they had, the mean of all times at which at least two had something waiting. */
  readonly placeFairness: number;
  /** Longest time by which an operation was accepted after one of its project that was still waiting when it was claimed. */
  readonly overtakenMs: number;
  readonly simulatedMs: number;
  /** Calls of the claim function, those that got nothing, and the time of each, ms. */
  readonly claimsMs: readonly number[];
  readonly emptyClaims: number;
  readonly statements: number;
}

/**
 * Simulates nodes: they claim, begin and end operations by the catalogue's own statements, in a real database whose clock
 * (`clock_timestamp`, `now`) is the simulated time. Only what a run does is left out. The same seed gives the same outcome.
 */
export class Simulation implements AsyncDisposable {
  readonly #terms: SimulationTerms;
  readonly #database: ClusterDatabase;
  readonly #random: Random;
  readonly #nodes: Node[] = [];
  readonly #operations = new Map<string, Operation>();
  /** Operations of each project that wait, in their order. */
  readonly #waiting: Set<Operation>[];
  readonly #ends = new Map<number, { readonly node: Node; readonly claim: Claim }[]>();
  /** Number of nodes that have an image. */
  readonly #holders = new Map<string, number>();
  readonly #running: number[];
  readonly #places = { sum: 0, count: 0 };
  #window: { claims: number[]; waited: boolean[] };
  readonly #fairness: number[] = [];
  readonly #claimsMs: number[] = [];
  #nowMs = Number.NEGATIVE_INFINITY;
  #chance = 0;
  #overtakenMs = 0;
  #empty = 0;
  #statements = 0;

  private constructor(terms: SimulationTerms, database: ClusterDatabase) {
    this.#terms = terms;
    this.#database = database;
    this.#random = new Random(terms.seed);
    this.#waiting = terms.projects.map(() => new Set());
    this.#running = terms.projects.map(() => 0);
    this.#window = this.#newWindow();
  }

  static async open(postgres: Postgres, terms: SimulationTerms): Promise<Simulation> {
    const url = await postgres.database();
    const clock = new ClusterDatabase(url, SILENT_LOG);
    try {
      await clock.run('CREATE SCHEMA simulated');
      for (const name of ['now', 'clock_timestamp']) {
        await clock.run(`CREATE FUNCTION simulated.${name}() RETURNS timestamptz LANGUAGE sql STABLE
          AS $$ SELECT current_setting('simulated.now')::timestamptz $$`);
      }
      // Found before those of the system, by the function that claims, too.
      await clock.run(`DO $$ BEGIN EXECUTE format(
        'ALTER DATABASE %I SET search_path = simulated, public, pg_catalog', current_database()); END $$`);
    } finally {
      await clock[Symbol.asyncDispose]();
    }
    const simulation = new Simulation(terms, new ClusterDatabase(url, SILENT_LOG));
    await simulation.#prepare();
    return simulation;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]();
  }

  /** Simulates until all operations have ended. */
  async run(): Promise<SimulatedOutcome> {
    const { projects } = this.#terms;
    const arrivals = projects
      .flatMap((project, index) => project.arrivals.map((arrival) => ({ index, ...arrival })))
      .toSorted((a, b) => a.atMs - b.atMs);
    while (arrivals.length > 0 && defined(arrivals[0], 'one is left').atMs < 0) {
      const { atMs, index, count } = defined(arrivals.shift(), 'one is left');
      await this.#setClock(atMs);
      await this.#accept(index, count);
    }
    await this.#database.run('ANALYZE');
    const before = this.#database.statements;
    let ticks = 0;
    for (let nowMs = 0; arrivals.length > 0 || this.#left > 0; nowMs += TICK_MS, ticks += 1) {
      await this.#setClock(nowMs);
      while (arrivals[0] !== undefined && arrivals[0].atMs <= nowMs) {
        const { index, count } = defined(arrivals.shift(), 'one is left');
        await this.#accept(index, count);
        this.#wakeAll();
      }
      await this.#end();
      await this.#beat(ticks);
      await this.#claim();
      this.#comparePlaces();
    }
    this.#statements = this.#database.statements - before - ticks;
    return this.#outcome();
  }

  #outcome(): SimulatedOutcome {
    const operations = [...this.#operations.values()] as Required<Operation>[];
    const count = operations.length;
    return {
      operations,
      hitRate: operations.filter(({ hit }) => hit).length / count,
      chanceRate: this.#chance / count,
      claimFairness: this.#fairness,
      placeFairness: this.#places.sum / this.#places.count,
      overtakenMs: this.#overtakenMs,
      simulatedMs: this.#nowMs,
      claimsMs: this.#claimsMs,
      emptyClaims: this.#empty,
      statements: this.#statements,
    };
  }

  get #left(): number {
    const running = this.#running.reduce((sum, one) => sum + one, 0);
    return this.#waiting.reduce((sum, { size }) => sum + size, running);
  }

  /** Enters images and nodes. */
  async #prepare(): Promise<void> {
    const { nodes, projects, places } = this.#terms;
    await this.#setClock(-1_000_000);
    await migrate(this.#database);
    for (const { name, images } of projects) {
      const made = `INSERT INTO images (uuid, project, config, content) SELECT unnest($1::uuid[]), $2, '{}', ''`;
      await this.#database.run(made, images, name);
    }
    await this.#setClock(-1);
    for (let index = 0; index < nodes; index += 1) {
      const identity = { name: `n${String(index).padStart(4, '0')}`, session: uuidOf(this.#random) };
      const owner = uuidOf(this.#random);
      const presence = { ...identity, owner, url: `http://${identity.name}`, version: '1', works: true };
      const membership = new Membership(this.#database, presence, LEASE_MS);
      await membership.join();
      const queue = new Queue(this.#database, identity);
      this.#nodes.push({ name: identity.name, queue, membership, held: new Set(), free: places, lookMs: 0 });
    }
  }

  /** Sets the clock of the database. One connection serves everything, because there is never more than one statement. */
  async #setClock(nowMs: number): Promise<void> {
    this.#nowMs = nowMs;
    const at = new Date(Date.UTC(2030, 0) + nowMs).toISOString();
    await this.#database.rows(`SELECT set_config('simulated.now', $1, false)`, at);
  }

  async #accept(index: number, count: number): Promise<void> {
    const project = defined(this.#terms.projects[index], 'a project');
    const accepted = Array.from({ length: count }, () => ({
      uuid: uuidOf(this.#random),
      project: index,
      image: imageOf(project, this.#random),
      runMs: project.runMs * (0.5 + this.#random.below(1_000) / 1_000),
      acceptedMs: this.#nowMs,
    }));
    const work = Buffer.from('work');
    const rows = await acceptOperations(
      this.#database,
      accepted.map(({ uuid, image }) => ({
        uuid,
        image,
        work,
        project: project.name,
        token: undefined,
        kind: 'instance',
        stays: false,
        request: '{}',
      })),
    );
    assert.equal(rows.size, count);
    for (const operation of accepted) {
      this.#operations.set(operation.uuid, operation);
      defined(this.#waiting[index], 'a project').add(operation);
    }
  }

  /** Wakes the nodes that have room, as a notification does. */
  #wakeAll(): void {
    for (const node of this.#nodes) node.lookMs = Math.min(node.lookMs, this.#nowMs);
  }

  async #end(): Promise<void> {
    const tick = Math.floor(this.#nowMs / TICK_MS);
    const due = this.#ends.get(tick) ?? [];
    this.#ends.delete(tick);
    if (due.length === 0) return;
    const ends = due.map(({ claim }) => ({ claim, end: { status: 'SUCCESS' } as const }));
    const ended = await endOperations(this.#database, ends);
    assert.equal(ended.size, due.length, 'each run ends once, by the node that had it');
    for (const { node, claim } of due) {
      const { project } = defined(this.#operations.get(claim.operation), 'it was accepted');
      this.#running[project]! -= 1;
      node.free += 1;
      node.lookMs = this.#nowMs;
    }
  }

  /** Extends the leases of the nodes whose turn it is: each four times in a lease. */
  async #beat(ticks: number): Promise<void> {
    const period = LEASE_MS / 4 / TICK_MS;
    for (const [index, { membership, held }] of this.#nodes.entries()) {
      if (index % period !== ticks % period) continue;
      await membership.beat(this.#terms.tells ? [...held].toReversed() : []);
    }
  }

  /** Lets the nodes that have room claim, in an order by chance. */
  async #claim(): Promise<void> {
    const looking = this.#nodes.filter(({ free, lookMs }) => free > 0 && lookMs <= this.#nowMs);
    for (let last = looking.length - 1; last > 0; last -= 1) {
      const other = this.#random.below(last + 1);
      [looking[last], looking[other]] = [defined(looking[other], 'within'), defined(looking[last], 'within')];
    }
    const claims: Claim[] = [];
    for (const node of looking) claims.push(...(await this.#claimFor(node)));
    if (claims.length === 0) return;
    const begun = await beginOperations(this.#database, claims);
    assert.equal(begun.size, claims.length, 'each claim may begin');
  }

  async #claimFor(node: Node): Promise<readonly Claim[]> {
    const startedMs = performance.now();
    const images = this.#terms.tells ? [...node.held].toReversed() : [];
    const { claims, later } = await node.queue.claim(node.free, images);
    this.#claimsMs.push(performance.now() - startedMs);
    if (claims.length === 0) this.#empty += 1;
    const isFull = claims.length === node.free;
    node.lookMs = this.#nowMs + (later ? LOOK_AGAIN_MS : LOOK_MS);
    for (const claim of claims) this.#begin(node, claim);
    if (isFull && this.#waiting.some(({ size }) => size > 0)) this.#wakeAll();
    return claims;
  }

  #begin(node: Node, claim: Claim): void {
    const operation = defined(this.#operations.get(claim.operation), 'it was accepted');
    const { project, image, acceptedMs, runMs } = operation;
    assert.equal(operation.claimedMs, undefined, 'each operation is claimed once');
    const waiting = defined(this.#waiting[project], 'a project');
    const [first = operation] = waiting;
    // One that was left to others has not waited longer than that.
    this.#overtakenMs = Math.max(this.#overtakenMs, acceptedMs - first.acceptedMs);
    this.#count(project);
    waiting.delete(operation);
    operation.claimedMs = this.#nowMs;
    operation.hit = node.held.has(image);
    this.#chance += (this.#holders.get(image) ?? 0) / this.#terms.nodes;
    this.#hold(node, image);
    node.free -= 1;
    this.#running[project]! += 1;
    const endMs = this.#nowMs + runMs + (operation.hit ? 0 : FETCH_MS);
    const tick = Math.floor(endMs / TICK_MS) + 1;
    this.#ends.set(tick, [...(this.#ends.get(tick) ?? []), { node, claim }]);
  }

  #hold(node: Node, image: string): void {
    const change = (which: string, by: number): void => {
      this.#holders.set(which, (this.#holders.get(which) ?? 0) + by);
    };
    if (!node.held.delete(image)) change(image, 1);
    node.held.add(image);
    const [oldest = image] = node.held;
    if (node.held.size > this.#terms.imagesHeld) {
      node.held.delete(oldest);
      change(oldest, -1);
    }
  }

  /** Counts a claim of a project, and compares the projects that waited for their turns all the time. */
  #count(project: number): void {
    for (const [index, [first]] of this.#waiting.entries())
      if (first === undefined || first.acceptedMs > this.#nowMs - OUTWAITED_MS) this.#window.waited[index] = false;
    this.#window.claims[project]! += 1;
    if (this.#window.claims.reduce((sum, one) => sum + one, 0) < WINDOW) return;
    const waited = this.#window.claims.filter((_, index) => this.#window.waited[index]);
    if (waited.length > 1) this.#fairness.push(fairness(waited));
    this.#window = this.#newWindow();
  }

  #comparePlaces(): void {
    const held = this.#running.filter((_, index) => defined(this.#waiting[index], 'a project').size > 0);
    if (held.length < 2) return;
    this.#places.sum += fairness(held);
    this.#places.count += 1;
  }

  #newWindow(): { claims: number[]; waited: boolean[] } {
    return { claims: this.#terms.projects.map(() => 0), waited: this.#terms.projects.map(() => true) };
  }
}
