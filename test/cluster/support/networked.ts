import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterDatabase } from '../../../src/cluster/catalogue/database.ts';
import { migrate } from '../../../src/cluster/catalogue/migrate.ts';
import { httpContree, type HttpContree } from '../../../src/client/http-contree.ts';
import { Requester } from '../../../src/client/requester.ts';
import { HttpTransport } from '../../../src/client/transport.ts';
import { defined } from '../../../src/std/assert.ts';
import { SILENT_LOG } from '../../../src/engine/log.ts';
import { finished } from '../../engine/bench.ts';
import { TestNetwork, type NetworkHost } from './network.ts';
import type { NetworkNodeArguments } from './network-node.ts';
import { Postgres } from './postgres.ts';
import { Versitygw } from './versitygw.ts';

const PROGRAM = join(import.meta.dirname, 'network-node.ts');
const DATABASE = 'test1';

/** A cluster whose parts run on hosts of a network of their own, each in a process. */
export class NetworkedCluster implements AsyncDisposable {
  readonly network: TestNetwork;
  readonly postgres: Postgres;
  readonly postgresHost: NetworkHost;
  readonly objects: Versitygw;
  readonly objectsHost: NetworkHost;
  /** Connection of the test, which no fault of the network disturbs. */
  readonly database: ClusterDatabase;
  readonly folder: string;
  readonly #owned: AsyncDisposableStack;

  private constructor(
    parts: Pick<
      NetworkedCluster,
      'network' | 'postgres' | 'postgresHost' | 'objects' | 'objectsHost' | 'database' | 'folder'
    >,
    owned: AsyncDisposableStack,
  ) {
    this.network = parts.network;
    this.postgres = parts.postgres;
    this.postgresHost = parts.postgresHost;
    this.objects = parts.objects;
    this.objectsHost = parts.objectsHost;
    this.database = parts.database;
    this.folder = parts.folder;
    this.#owned = owned;
  }

  static async open(): Promise<NetworkedCluster> {
    await using owned = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'contree-networked-'));
    owned.defer(() => rm(folder, { recursive: true, force: true }));
    const network = owned.use(await TestNetwork.open());
    const [postgresHost, objectsHost] = [await network.add(), await network.add()];
    const postgres = owned.use(await Postgres.open({ durable: true, host: postgresHost }));
    await postgres.database();
    const objects = owned.use(await Versitygw.open(objectsHost));
    const database = owned.use(new ClusterDatabase(postgres.nearUrl(DATABASE), SILENT_LOG));
    await migrate(database);
    return new NetworkedCluster(
      { network, postgres, postgresHost, objects, objectsHost, database, folder },
      owned.move(),
    );
  }

  /** Adds a node on a host of its own, and starts it. */
  async join(name: string, options: NetworkNodeOptions = {}): Promise<NetworkedNode> {
    const host = await this.network.add();
    const dataDir = options.dataDir ?? join(this.folder, name);
    await mkdir(dataDir, { recursive: true });
    const { databaseAddress, objectsUrl = this.objects.address('cluster'), works = true, leaseMs = 4_000 } = options;
    const given: NetworkNodeArguments = {
      name,
      dataDir,
      objectsUrl,
      works,
      leaseMs,
      owner: randomUUID(),
      databaseUrl: this.postgres.url(DATABASE, databaseAddress),
      address: host.address,
      socket: join(this.folder, `${name}.sock`),
    };
    const node = this.#owned.use(new NetworkedNode(host, given));
    await node.start();
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

export interface NetworkNodeOptions {
  readonly works?: boolean;
  readonly leaseMs?: number;
  readonly dataDir?: string;
  /** Address of PostgreSQL, if not that of its host. */
  readonly databaseAddress?: string;
  readonly objectsUrl?: string;
}

/** A node in a process of its own, on a host of its own. */
export class NetworkedNode implements AsyncDisposable {
  readonly host: NetworkHost;
  readonly name: string;
  /** The cluster as the owner of the node's data directory sees it from there, whatever its network does. */
  readonly contree: HttpContree;
  readonly #given: NetworkNodeArguments;
  #process: ChildProcess | undefined;

  constructor(host: NetworkHost, given: NetworkNodeArguments) {
    this.host = host;
    this.name = given.name;
    this.#given = given;
    const transport = new HttpTransport({ url: 'http://localhost', socket: given.socket ?? '', headers: {} });
    this.contree = httpContree(new Requester({ transport, checked: false }), async () => transport[Symbol.dispose]());
  }

  /** Starts the process and waits until it serves. */
  async start(): Promise<void> {
    const [program, args] = this.host.command(process.execPath, [PROGRAM, JSON.stringify(this.#given)]);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    const [ready] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    if (!(ready instanceof Buffer)) throw new Error(`the node ${this.name} ended with ${String(ready)}`);
  }

  /** Imports a root image and returns its UUID. */
  async addRoot(): Promise<string> {
    const { uuid } = await this.contree.images.import({ registry: { url: 'docker://127.0.0.1/base' } });
    const { result, error } = await finished(this.contree, uuid);
    return defined(result?.image, `the import failed: ${error}`);
  }

  /** Sends a signal to the process; resolves with its end when the signal is one that ends it. */
  async signal(signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    const ends = signal === 'SIGKILL' || signal === 'SIGTERM';
    const ended = ends ? once(child, 'exit') : undefined;
    if (ends) this.#process = undefined;
    child.kill(signal);
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.contree[Symbol.asyncDispose]();
    await this.signal('SIGKILL');
  }
}
