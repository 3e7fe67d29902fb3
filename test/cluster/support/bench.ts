import { randomUUID } from 'node:crypto';
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterDatabase } from '../../../src/cluster/catalogue/database.ts';
import { insertImage } from '../../../src/cluster/catalogue/images.ts';
import { migrate } from '../../../src/cluster/catalogue/migrate.ts';
import { CatalogueObjects } from '../../../src/cluster/catalogue/objects.ts';
import { EMPTY_IMAGE_CONFIG } from '../../../src/contract/image.ts';
import { SILENT_LOG } from '../../../src/engine/log.ts';
import { Store } from '../../../src/store/store.ts';
import { rootLayer } from '../../engine/bench.ts';
import { FolderObjects } from './folder-objects.ts';
import { openTestNode, type TestNode, type TestNodeOptions, type TestNodePlace } from './test-node.ts';

/** A cluster of a test: a database, an object storage, and nodes in this process. */
export class TestCluster implements AsyncDisposable {
  readonly database: ClusterDatabase;
  readonly objectsFolder: string;
  readonly #url: string;
  readonly #folder: string;
  readonly #nodes: TestNode[] = [];

  private constructor(url: string, folder: string) {
    this.#url = url;
    this.#folder = folder;
    this.database = new ClusterDatabase(url, SILENT_LOG);
    this.objectsFolder = join(folder, 'objects');
  }

  /** Opens a cluster, with a copy of the objects in a folder if one is given. */
  static async open(url: string, objectsFolder?: string): Promise<TestCluster> {
    const folder = await mkdtemp(join(tmpdir(), 'contree-cluster-'));
    if (objectsFolder === undefined) await mkdir(join(folder, 'objects'));
    else await cp(objectsFolder, join(folder, 'objects'), { recursive: true });
    const cluster = new TestCluster(url, folder);
    await migrate(cluster.database);
    return cluster;
  }

  /** Returns the place of a node with that name. */
  place(name: string): TestNodePlace {
    const objects = new FolderObjects(this.objectsFolder);
    return { databaseUrl: this.#url, objects, dataDir: join(this.#folder, name), name };
  }

  /** Adds a node in this process. */
  async join(name: string, options: TestNodeOptions = {}): Promise<TestNode> {
    const added = await openTestNode(this.place(name), options);
    this.#nodes.push(added);
    return added;
  }

  /** Publishes the root image of the conformance suite, as a node would. */
  async addRoot(project = 'default'): Promise<string> {
    await using store = await Store.open(join(this.#folder, randomUUID()));
    const layer = await rootLayer(store, 'base');
    const { digest, bytes, entries } = layer;
    const { path } = await store.layers.file(digest);
    const objects = new CatalogueObjects(this.database, new FolderObjects(this.objectsFolder));
    await objects.put({ key: `layers/${digest}`, sha256: digest, bytes, path }, new AbortController().signal);
    const uuid = randomUUID();
    await this.database.run('INSERT INTO layers (digest, bytes, entries) VALUES ($1, $2, $3)', digest, bytes, entries);
    const origin = { parent: null, operation: null, command: null, exitCode: null, layerBytes: null };
    await this.database.transaction((sql) =>
      insertImage(sql, project, { uuid, ...origin, config: EMPTY_IMAGE_CONFIG, layers: [layer] }),
    );
    return uuid;
  }

  /** Ends the lease of a node, as time does. */
  async expire(name: string): Promise<void> {
    await this.database.run(`UPDATE nodes SET lease_until = now() - interval '1 second' WHERE name = $1`, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.#nodes.toReversed()) await node[Symbol.asyncDispose]();
    await this.database[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
