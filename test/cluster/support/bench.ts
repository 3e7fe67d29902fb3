import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterDatabase } from '../../../src/cluster/catalogue/database.ts';
import { insertImage } from '../../../src/cluster/catalogue/images.ts';
import { migrate } from '../../../src/cluster/catalogue/migrate.ts';
import { ClusterNode } from '../../../src/cluster/node/node.ts';
import type { Objects } from '../../../src/cluster/node/objects.ts';
import { EMPTY_IMAGE_CONFIG } from '../../../src/contract/image.ts';
import { PERMISSIONS } from '../../../src/contract/permissions.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { SILENT_LOG } from '../../../src/engine/log.ts';
import { Activity } from '../../../src/http/activity.ts';
import { createApp } from '../../../src/http/app.ts';
import { listen } from '../../../src/http/listen.ts';
import { SILENT } from '../../../src/http/log.ts';
import { Store } from '../../../src/store/store.ts';
import { IMPORTER, PUSHER } from '../../conformance/contree.ts';
import { rootLayer } from '../../engine/bench.ts';
import { FakeDriver } from '../../support/fake-sandbox/driver.ts';
import { FolderObjects } from './folder-objects.ts';

const SECRET = 'the secret of the test';

export interface TestNodeOptions {
  readonly works?: boolean;
  readonly leaseMs?: number;
  readonly concurrency?: number;
}

/** A node of a test in this process, with the fake driver and a listener for other nodes. */
export interface TestNode extends AsyncDisposable {
  readonly node: ClusterNode;
  readonly store: Store;
  readonly name: string;
}

/** A cluster of a test: a database, an object storage, and nodes in this process. */
export class TestCluster implements AsyncDisposable {
  readonly database: ClusterDatabase;
  readonly objects: Objects;
  readonly #url: string;
  readonly #folder: string;
  readonly #nodes: TestNode[] = [];

  private constructor(url: string, folder: string) {
    this.#url = url;
    this.#folder = folder;
    this.database = new ClusterDatabase(url, SILENT_LOG);
    this.objects = new FolderObjects(join(folder, 'objects'));
  }

  static async open(url: string): Promise<TestCluster> {
    const folder = await mkdtemp(join(tmpdir(), 'contree-cluster-'));
    await mkdir(join(folder, 'objects'));
    const cluster = new TestCluster(url, folder);
    await migrate(cluster.database);
    return cluster;
  }

  /** Adds a node. */
  async join(name: string, options: TestNodeOptions = {}): Promise<TestNode> {
    await using owned = new AsyncDisposableStack();
    const store = owned.use(await Store.open(join(this.#folder, name)));
    const driver = owned.use(new FakeDriver());
    const stop = new AbortController();
    let node: ClusterNode | undefined;
    const app = createApp({
      contreeFor: ({ project }) => node!.engine.forTenant({ project, permissions: new Set(PERMISSIONS) }),
      version: 'test',
      log: SILENT,
      authentication: {
        kind: 'token',
        verifier: {
          verify: async (token) =>
            node?.isPeerToken(token) === true
              ? { expiresAt: null, permissions: new Set(PERMISSIONS), project: 'default', limits: {}, isOwner: false }
              : undefined,
        },
      },
      closing: stop.signal,
    });
    const listener = owned.use(await listen(app, { kind: 'tcp', host: '127.0.0.1', port: 0 }, new Activity()));
    owned.defer(() => stop.abort());
    let engine: Engine | undefined;
    node = await ClusterNode.open({
      databaseUrl: this.#url,
      objects: this.objects,
      store,
      openEngine: (catalogue) => {
        engine = Engine.open({
          store,
          driver,
          importer: IMPORTER,
          pusher: PUSHER,
          version: 'test',
          catalogue,
          ...(options.concurrency !== undefined && { concurrency: options.concurrency }),
        });
        return engine;
      },
      secret: SECRET,
      name,
      owner: randomUUID(),
      url: listener.address,
      version: 'test',
      works: options.works ?? true,
      out: () => undefined,
      log: SILENT_LOG,
      ...(options.leaseMs !== undefined && { leaseMs: options.leaseMs }),
    });
    const opened = node;
    owned.defer(async () => {
      await opened[Symbol.asyncDispose]();
      await opened.engine[Symbol.asyncDispose]();
    });
    const all = owned.move();
    const added = { node, store, name, [Symbol.asyncDispose]: () => all.disposeAsync() };
    this.#nodes.push(added);
    return added;
  }

  /** Publishes the root image of the conformance suite, as a node would. */
  async addRoot(project = 'default'): Promise<string> {
    await using store = await Store.open(join(this.#folder, randomUUID()));
    const layer = await rootLayer(store, 'base');
    const { path } = await store.layers.file(layer.digest);
    const signal = new AbortController().signal;
    await this.objects.put({ key: `layers/${layer.digest}`, sha256: layer.digest, bytes: layer.bytes, path }, signal);
    const { digest, bytes, entries } = layer;
    const uuid = randomUUID();
    await this.database.run('INSERT INTO layers VALUES ($1, $2, $3, true)', digest, bytes, entries);
    const origin = { parent: null, operation: null, command: null, exitCode: null, layerBytes: null };
    await this.database.transaction((sql) =>
      insertImage(sql, project, { uuid, ...origin, config: EMPTY_IMAGE_CONFIG, layers: [layer] }),
    );
    return uuid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.#nodes.toReversed()) await node[Symbol.asyncDispose]();
    await this.database[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
