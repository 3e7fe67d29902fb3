import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { ConTree } from '../../src/contract/contree.ts';
import { Store } from '../../src/store/store.ts';
import { FolderObjects } from '../../test/cluster/support/folder-objects.ts';
import { openTestNode } from '../../test/cluster/support/test-node.ts';
import { addRoot, startEngine } from '../../test/engine/bench.ts';
import { FakeDriver } from '../../test/support/fake-sandbox/driver.ts';
import { until } from '../../test/support/time/until.ts';

/** Arguments of the process, as JSON: one node of a cluster, or without a database the plain engine. */
export interface ClusterNodeArguments {
  readonly dataDir: string;
  /** Runs at once. */
  readonly concurrency: number;
  readonly cluster?: {
    readonly databaseUrl: string;
    readonly objectsFolder: string;
    readonly name: string;
    /** Image of the runs. */
    readonly image: string;
  };
}

/** Order to accept runs: as many as there are, some of them at a time; or so many a second. */
export interface LoadOrder {
  readonly operations: number;
  readonly disposable: boolean;
  readonly pace: { readonly atOnce: number } | { readonly perSecond: number };
}

/** Use of resources of the process so far. */
export interface NodeUse {
  readonly cpuMs: number;
  /** Statements sent to PostgreSQL. */
  readonly statements: number;
}

/** Answer to an order, once all is accepted; by the plain engine, once all has ended. */
export interface LoadAnswer {
  readonly use: NodeUse;
}

/** Something that accepts runs. */
interface Opened {
  readonly contree: ConTree;
  readonly image: string;
  readonly statements: () => number;
  /** Resolves when nothing of it runs any more. */
  readonly idle: () => Promise<unknown>;
}

async function opened(given: ClusterNodeArguments, owned: AsyncDisposableStack): Promise<Opened> {
  const { dataDir, concurrency, cluster } = given;
  if (cluster === undefined) {
    const store = owned.use(await Store.open(dataDir));
    const base = await addRoot(store);
    const engine = owned.use(startEngine(store, owned.use(new FakeDriver()), { concurrency }));
    const idle = (): Promise<unknown> => until(() => engine.activeCount === 0);
    return { contree: engine, image: base.uuid, statements: () => 0, idle };
  }
  const { databaseUrl, objectsFolder, name, image } = cluster;
  const place = { databaseUrl, dataDir, name, objects: new FolderObjects(objectsFolder) };
  const { node } = owned.use(await openTestNode(place, { concurrency }));
  const contree = node.forTenant({ project: 'default', isOwner: true });
  return { contree, image, statements: () => node.statements, idle: () => Promise.resolve() };
}

async function load({ contree, image }: Opened, { operations, disposable, pace }: LoadOrder): Promise<void> {
  const start = (): Promise<unknown> =>
    disposable
      ? contree.runs.start({ image, command: 'true', disposable })
      : contree.runs.start({ image, command: `echo ${randomUUID()} > /file`, shell: true, disposable });
  if ('atOnce' in pace) {
    let left = operations;
    const starter = async (): Promise<void> => {
      while (left-- > 0) await start();
    };
    await Promise.all(Array.from({ length: pace.atOnce }, starter));
    return;
  }
  const startedMs = performance.now();
  const started: Promise<unknown>[] = [];
  for (let index = 0; index < operations; index += 1) {
    const waitMs = startedMs + (index * 1_000) / pace.perSecond - performance.now();
    if (waitMs > 0) await delay(waitMs);
    started.push(start());
  }
  await Promise.all(started);
}

await using owned = new AsyncDisposableStack();
const ready = await opened(JSON.parse(process.argv[2] ?? '{}') as ClusterNodeArguments, owned);
const use = (): NodeUse => {
  const { user, system } = process.cpuUsage();
  return { cpuMs: (user + system) / 1_000, statements: ready.statements() };
};
const { promise: closed, resolve: close } = Promise.withResolvers<void>();
process.on('message', (order: LoadOrder | 'use' | 'end') => {
  if (order === 'end') close();
  else if (order === 'use') process.send?.({ use: use() } satisfies LoadAnswer);
  else
    void load(ready, order)
      .then(ready.idle)
      .then(() => process.send?.({ use: use() } satisfies LoadAnswer));
});
process.send?.({ use: use() } satisfies LoadAnswer);
await closed;
process.disconnect?.();
