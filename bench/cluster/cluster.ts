import { randomUUID } from 'node:crypto';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterDatabase } from '../../src/cluster/catalogue/database.ts';
import { epochMs } from '../../src/cluster/catalogue/values.ts';
import { openObjects } from '../../src/cluster/objects/open.ts';
import type { ConTree } from '../../src/contract/contree.ts';
import { SILENT_LOG } from '../../src/engine/log.ts';
import { defined } from '../../src/std/assert.ts';
import { Postgres } from '../../test/cluster/support/postgres.ts';
import { openTestNode } from '../../test/cluster/support/test-node.ts';
import { Versitygw } from '../../test/cluster/support/versitygw.ts';
import { finished, openEngine, run } from '../../test/engine/bench.ts';
import { FolderObjects } from '../../test/cluster/support/folder-objects.ts';
import { until } from '../../test/support/time/until.ts';
import type { ClusterNodeArguments, LoadAnswer, LoadOrder, NodeUse } from './node-process.ts';
import { sampleOf, samplePair } from '../support/measure.ts';
import type { Place } from '../support/place.ts';
import type { Report } from '../support/report.ts';

const RUNS = 100;
const NODES = [1, 2, 4, 8];
/** Runs at once on each node: the in-memory driver needs no memory and hardly a processor. */
const CONCURRENCY = 8;
const OPERATIONS = 2_000;
/** Requests that are answered at a time, by all nodes together. */
const CLIENTS = 32;
/** Rate at which waiting times are measured, well below what is possible. */
const PER_SECOND = 60;
const SECONDS = 8;
const OWNER = { project: 'default', isOwner: true } as const;

/** Imports the root image of the tests and returns its UUID. */
async function imported(contree: ConTree): Promise<string> {
  const { uuid } = await contree.images.import({ registry: { url: 'docker://base' } });
  return defined((await finished(contree, uuid)).result?.image, 'an import has an image');
}

/** Measures what a client waits for one run of an idle node, beside the plain engine, in this process. */
async function overhead(postgres: Postgres, report: Report): Promise<void> {
  await using gateway = await Versitygw.open();
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-bench-'));
  await using plain = await openEngine();
  using objects = await openObjects(gateway.address('bench'));
  const place = { databaseUrl: await postgres.database(), objects, dataDir: folder.path, name: 'one' };
  await using node = await openTestNode(place);
  const contree = node.node.forTenant(OWNER);
  const image = await imported(contree);
  const requests = {
    'disposable run': () => ({ command: 'true', disposable: true }),
    'run that saves a file': () => ({ command: `echo ${randomUUID()} > /file`, shell: true, disposable: false }),
  };
  for (const [what, request] of Object.entries(requests)) {
    const before = node.node.statements;
    const pair = await samplePair(
      RUNS,
      () => run(contree, { image, ...request() }),
      () => run(plain.engine, { image: plain.base.uuid, ...request() }),
    );
    const statements = (node.node.statements - before) / (RUNS + 1);
    report.add({
      what: `${what} on an idle node, above the plain engine, p50`,
      value: pair.ours.medianMs - pair.peer.medianMs,
      unit: 'ms',
      budget: { atMost: 30 },
      peer: `plain engine ${pair.peer.medianMs.toFixed(1)} ms, p99 ${pair.peer.p99Ms.toFixed(0)}; both with the in-memory driver`,
      note: `node ${pair.ours.medianMs.toFixed(1)} ms, p99 ${pair.ours.p99Ms.toFixed(0)}; ${statements.toFixed(1)} statements with those of the client that follows`,
    });
  }
}

/** A process of its own: a node, or the plain engine. */
class LoadProcess implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async open(given: ClusterNodeArguments): Promise<LoadProcess> {
    const program = join(import.meta.dirname, 'node-process.ts');
    const child = fork(program, [JSON.stringify(given)]);
    await once(child, 'message');
    return new LoadProcess(child);
  }

  async ask(order: LoadOrder | 'use'): Promise<NodeUse> {
    const answer = once(this.#child, 'message') as Promise<[LoadAnswer]>;
    this.#child.send(order);
    const [{ use }] = await answer;
    return use;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.send('end');
    await ended;
  }
}

/** Figures of a load, of all nodes together. */
interface Figures {
  readonly perSecond: number;
  readonly cpuMs: number;
  readonly statements: number;
  /** From accepted to started. */
  readonly waitsMs: readonly number[];
}

/** A database with nodes that are processes. */
class LoadedCluster {
  readonly #database: ClusterDatabase;
  readonly #nodes: readonly LoadProcess[];

  constructor(database: ClusterDatabase, nodes: readonly LoadProcess[]) {
    this.#database = database;
    this.#nodes = nodes;
  }

  /** Gives each node its share of a load and waits until all has ended. */
  async measure(load: LoadOrder): Promise<Figures> {
    const before = await Promise.all(this.#nodes.map((node) => node.ask('use')));
    const [{ last } = { last: 0 }] = await this.#database.rows<{ last: number }>(
      'SELECT coalesce(max(id), 0)::float8 AS last FROM operations',
    );
    const count = this.#nodes.length;
    const { pace, operations, disposable } = load;
    const each =
      'atOnce' in pace ? { atOnce: Math.max(1, pace.atOnce / count) } : { perSecond: pace.perSecond / count };
    await Promise.all(this.#nodes.map((node) => node.ask({ operations: operations / count, disposable, pace: each })));
    const left = 'SELECT uuid FROM operations WHERE id > $1 AND finished_at IS NULL LIMIT 1';
    await until(async () => (await this.#database.rows(left, last)).length === 0);
    const after = await Promise.all(this.#nodes.map((node) => node.ask('use')));
    const rows = await this.#database.rows<{ accepted: number; started: number; ended: number; status: string }>(
      `SELECT ${epochMs('created_at')} AS accepted, ${epochMs('started_at')} AS started,
         ${epochMs('finished_at')} AS ended, status FROM operations WHERE id > $1`,
      last,
    );
    const failed = rows.filter(({ status }) => status !== 'SUCCESS').length;
    if (failed > 0) throw new Error(`${failed} of ${rows.length} operations failed`);
    const firstMs = Math.min(...rows.map(({ accepted }) => accepted));
    const lastMs = Math.max(...rows.map(({ ended }) => ended));
    const sum = (of: (use: NodeUse) => number): number =>
      after.reduce((total, use, index) => total + of(use) - of(defined(before[index], 'as many')), 0);
    return {
      perSecond: rows.length / ((lastMs - firstMs) / 1_000),
      cpuMs: sum(({ cpuMs }) => cpuMs) / rows.length,
      statements: sum(({ statements }) => statements) / rows.length,
      waitsMs: rows.map(({ accepted, started }) => started - accepted),
    };
  }
}

const WHOLE_LOAD: LoadOrder = { operations: OPERATIONS, disposable: true, pace: { atOnce: CLIENTS } };

/** Returns what the plain engine does with the same load, in a process of its own. */
async function plainEngine(load: LoadOrder): Promise<Pick<Figures, 'perSecond' | 'cpuMs'>> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-bench-'));
  await using engine = await LoadProcess.open({ dataDir: folder.path, concurrency: CONCURRENCY });
  await engine.ask({ ...load, operations: 100 });
  const before = await engine.ask('use');
  const startedMs = performance.now();
  const after = await engine.ask(load);
  const seconds = (performance.now() - startedMs) / 1_000;
  return { perSecond: load.operations / seconds, cpuMs: (after.cpuMs - before.cpuMs) / load.operations };
}

/** Measures a number of nodes against one PostgreSQL; returns the operations a second. */
async function nodes(postgres: Postgres, report: Report, count: number): Promise<number> {
  await using owned = new AsyncDisposableStack();
  const folder = owned.use(await mkdtempDisposable(join(tmpdir(), 'contree-bench-')));
  const databaseUrl = await postgres.database();
  const objectsFolder = join(folder.path, 'objects');
  await mkdir(objectsFolder);
  const place = { databaseUrl, dataDir: join(folder.path, 'first'), objects: new FolderObjects(objectsFolder) };
  let image = '';
  {
    await using first = await openTestNode({ ...place, name: 'first' });
    image = await imported(first.node.forTenant(OWNER));
  }
  const processes = Array.from({ length: count }, async (_, index) => {
    const cluster = { databaseUrl, objectsFolder, name: `n${index}`, image };
    return owned.use(
      await LoadProcess.open({ dataDir: join(folder.path, `n${index}`), concurrency: CONCURRENCY, cluster }),
    );
  });
  const cluster = new LoadedCluster(
    owned.use(new ClusterDatabase(databaseUrl, SILENT_LOG)),
    await Promise.all(processes),
  );
  await cluster.measure({ ...WHOLE_LOAD, operations: 160 });
  const whole = await cluster.measure(WHOLE_LOAD);
  const steady = await cluster.measure({
    operations: PER_SECOND * SECONDS,
    disposable: true,
    pace: { perSecond: PER_SECOND },
  });
  const waits = sampleOf(steady.waitsMs);
  report.add({
    what: `${count} node${count === 1 ? '' : 's'}: operations accepted and finished`,
    value: whole.perSecond,
    unit: '/s',
    note: `${whole.statements.toFixed(1)} statements and ${whole.cpuMs.toFixed(1)} ms of processor (nodes only) for each; at ${PER_SECOND} a second ${steady.statements.toFixed(1)} statements`,
  });
  report.add({
    what: `${count} node${count === 1 ? '' : 's'}: from accepted to started at ${PER_SECOND} a second, p50`,
    value: waits.medianMs,
    unit: 'ms',
    note: `p99 ${waits.p99Ms.toFixed(0)}, max ${waits.maxMs.toFixed(0)} ms`,
  });
  if (count > 1) return whole.perSecond;
  const saving = await cluster.measure({ ...WHOLE_LOAD, operations: OPERATIONS / 4, disposable: false });
  report.add({
    what: 'the same with runs that save a file',
    value: saving.perSecond,
    unit: '/s',
    note: `${saving.statements.toFixed(1)} statements and ${saving.cpuMs.toFixed(1)} ms of processor for each; object storage is a folder`,
  });
  return whole.perSecond;
}

/**
 * Measures what a cluster costs: PostgreSQL 15 that waits for its disk, S3 for single runs, and nodes that are processes with
 * the in-memory driver, each of which accepts its share of the load.
 */
export async function benchCluster(_place: Place, report: Report): Promise<void> {
  report.section('Cluster');
  await using postgres = await Postgres.open({ durable: true });
  await overhead(postgres, report);
  const plain = await plainEngine(WHOLE_LOAD);
  report.add({
    what: 'the plain engine with the same load, accepted and finished',
    value: plain.perSecond,
    unit: '/s',
    note: `${plain.cpuMs.toFixed(1)} ms of processor for each`,
  });
  const rates: number[] = [];
  for (const count of NODES) rates.push(await nodes(postgres, report, count));
  report.add({
    what: 'operations accepted and finished on this machine, with the best number of nodes',
    value: Math.max(...rates),
    unit: '/s',
    budget: { atLeast: 300 },
  });
}
