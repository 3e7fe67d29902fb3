import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterDatabase } from '../../../src/cluster/catalogue/database.ts';
import { httpContree, type HttpContree } from '../../../src/client/http-contree.ts';
import { Requester } from '../../../src/client/requester.ts';
import { HttpTransport } from '../../../src/client/transport.ts';
import { defined } from '../../../src/std/assert.ts';
import { SILENT_LOG } from '../../../src/engine/log.ts';
import { finished } from '../../engine/bench.ts';
import { TestNetwork, type NetworkHost } from './network.ts';
import type { NetworkNodeArguments } from './network-node.ts';
import { ReplicatedPostgres } from './replicated-postgres.ts';
import { Versitygw } from './versitygw.ts';

const PROGRAM = join(import.meta.dirname, 'network-node.ts');
const DATABASE = 'test1';
/** Lease of nodes, short because tests wait for its end. */
export const LEASE_MS = 4_000;

interface Parts {
  readonly network: TestNetwork;
  readonly postgres: ReplicatedPostgres;
  readonly objects: Versitygw;
  readonly objectsHost: NetworkHost;
  readonly folder: string;
}

/** A cluster whose parts run on hosts of a network of their own, each in a process. */
export class NetworkedCluster implements AsyncDisposable {
  readonly network: TestNetwork;
  readonly postgres: ReplicatedPostgres;
  readonly objects: Versitygw;
  readonly objectsHost: NetworkHost;
  readonly #folder: string;
  readonly #owned: AsyncDisposableStack;

  private constructor(parts: Parts, owned: AsyncDisposableStack) {
    this.network = parts.network;
    this.postgres = parts.postgres;
    this.objects = parts.objects;
    this.objectsHost = parts.objectsHost;
    this.#folder = parts.folder;
    this.#owned = owned;
  }

  static async open(): Promise<NetworkedCluster> {
    await using owned = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'contree-networked-'));
    owned.defer(() => rm(folder, { recursive: true, force: true }));
    const network = owned.use(await TestNetwork.open());
    const postgres = owned.use(await ReplicatedPostgres.open(network));
    const objectsHost = await network.add();
    const objects = owned.use(await Versitygw.open(objectsHost));
    return new NetworkedCluster({ network, postgres, objects, objectsHost, folder }, owned.move());
  }

  /** Connects the test to the server that serves now, whatever the network does. */
  connect(): ClusterDatabase {
    return new ClusterDatabase(this.postgres.primary.nearUrl(DATABASE), SILENT_LOG);
  }

  /** Adds a node on a host of its own, and starts it. */
  async join(name: string, options: NetworkNodeOptions = {}): Promise<NetworkedNode> {
    const host = await this.network.add();
    const dataDir = join(this.#folder, name);
    await mkdir(dataDir, { recursive: true });
    const { objectsUrl = this.objects.address('cluster'), works = true } = options;
    const given: NetworkNodeArguments = {
      name,
      dataDir,
      objectsUrl,
      works,
      leaseMs: LEASE_MS,
      owner: randomUUID(),
      databaseUrl: this.postgres.primary.url(DATABASE, this.postgres.address),
      address: host.address,
      socket: join(this.#folder, `${name}.sock`),
    };
    const node = this.#owned.use(new NetworkedNode(host, given, options.diskMib));
    await node.start();
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

export interface NetworkNodeOptions {
  readonly works?: boolean;
  readonly objectsUrl?: string;
  /** Size of the disk with its data directory, which is gone with the process. */
  readonly diskMib?: number;
}

/** A node in a process of its own, on a host of its own. */
export class NetworkedNode implements AsyncDisposable {
  readonly host: NetworkHost;
  readonly name: string;
  /** The cluster as the owner of the node's data directory sees it from there, whatever its network does. */
  readonly contree: HttpContree;
  #given: NetworkNodeArguments;
  /** Ends of the process that nothing asked for. */
  readonly crashes: string[] = [];
  readonly #diskMib: number | undefined;
  #process: ChildProcess | undefined;

  constructor(host: NetworkHost, given: NetworkNodeArguments, diskMib?: number) {
    this.#diskMib = diskMib;
    this.host = host;
    this.name = given.name;
    this.#given = given;
    const transport = new HttpTransport({ url: 'http://localhost', socket: given.socket ?? '', headers: {} });
    this.contree = httpContree(new Requester({ transport, checked: false }), async () => transport[Symbol.dispose]());
  }

  /** Starts the process, with a wrong clock if so told, and waits until it serves. */
  async start(clockErrorMs = 0): Promise<void> {
    this.#given = { ...this.#given, clockErrorMs };
    const own = [process.execPath, PROGRAM, JSON.stringify(this.#given)];
    const [program, args] = this.host.command('env', this.#diskMib === undefined ? own : this.#onSmallDisk(own));
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    const [ready] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    if (!(ready instanceof Buffer)) throw new Error(`the node ${this.name} ended with ${String(ready)}`);
    child.once('exit', (code, signal) => {
      if (this.#process === child) this.crashes.push(`${this.name} crashed: ${code ?? signal}`);
    });
  }

  /** Returns the command that runs another one with a small file system of its own in the place of the data directory. */
  #onSmallDisk(own: readonly string[]): string[] {
    const mount = `mount -t tmpfs -o size=${this.#diskMib}m tmpfs "$0" && exec "$@"`;
    return ['unshare', '--mount', '--', 'sh', '-c', mount, this.#given.dataDir, ...own];
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
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
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
