import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { ConTree } from '../../contract/contree.ts';
import type { Catalogue } from '../../engine/node/catalogue.ts';
import type { Engine } from '../../engine/engine.ts';
import type { EngineLog } from '../../engine/log.ts';
import type { PortOfInstance } from '../../engine/project/instances.ts';
import type { Tenant } from '../../engine/project/tenant.ts';
import type { Store } from '../../store/store.ts';
import { ClusterDatabase } from '../catalogue/database.ts';
import { clusterLoad, type ClusterLoad } from '../catalogue/load.ts';
import { migrate } from '../catalogue/migrate.ts';
import { CatalogueTokens } from '../catalogue/tokens.ts';
import { ClusterContext } from '../contree/context.ts';
import { clusterContree } from '../contree/contree.ts';
import { connectThrough } from '../contree/ports.ts';
import { LEASE_MS, Membership } from '../queue/membership.ts';
import { Queue } from '../queue/queue.ts';
import { Adoption } from './adoption.ts';
import { OperationChanges } from './changes.ts';
import { Executor } from './executor.ts';
import { Heartbeat } from './heartbeat.ts';
import { HeldClaims } from './held-claims.ts';
import type { ObjectStore } from '../objects/object-store.ts';
import { CatalogueObjects } from '../catalogue/objects.ts';
import { Janitor } from './janitor.ts';
import type { NodeParts } from './parts.ts';
import { Peers } from './peers.ts';
import { Publisher } from './publisher.ts';
import { ClusterSecret } from './seal.ts';
import { Worker } from './worker.ts';

const CHANNELS = ['contree_queue', 'contree_operation'] as const;

export interface NodeOptions {
  /** `postgres://…` */
  readonly databaseUrl: string;
  /** Object storage of the cluster; disposed by the caller. */
  readonly storage: ObjectStore;
  readonly store: Store;
  /** Opens the engine of the store with the catalogue of the cluster; disposed by the caller. */
  readonly openEngine: (catalogue: Catalogue) => Engine;
  /** Secret that all nodes of the cluster share. */
  readonly secret: string;
  readonly name: string;
  /** UUID of the data directory. */
  readonly owner: string;
  /** URL at which other nodes reach this one. */
  readonly url: string;
  readonly version: string;
  /** True for a node that executes operations. */
  readonly works: boolean;
  /** Called when another process has taken this node's name. */
  readonly out: () => void;
  readonly log: EngineLog;
  readonly leaseMs?: number;
}

/**
 * One node of a cluster. Whatever its engine makes is published in the catalogue, and it can show everything that the
 * cluster has.
 */
export class ClusterNode implements AsyncDisposable {
  readonly #parts: NodeParts;
  readonly #worker: Worker | undefined;
  readonly #membership: Membership;
  readonly #heartbeat: Heartbeat;
  readonly #owned: AsyncDisposableStack;

  private constructor(
    parts: NodeParts,
    {
      worker,
      membership,
      heartbeat,
      owned,
    }: {
      readonly worker: Worker | undefined;
      readonly membership: Membership;
      readonly heartbeat: Heartbeat;
      readonly owned: AsyncDisposableStack;
    },
  ) {
    this.#parts = parts;
    this.#worker = worker;
    this.#membership = membership;
    this.#heartbeat = heartbeat;
    this.#owned = owned;
  }

  /**
   * Enters the cluster, and begins to work. Faults: CLUSTER_UNAVAILABLE, CLUSTER_VERSION_UNSUPPORTED, NODE_NAME_TAKEN.
   */
  static async open(options: NodeOptions): Promise<ClusterNode> {
    const { log, storage, store, leaseMs = LEASE_MS } = options;
    await using owned = new AsyncDisposableStack();
    const database = owned.use(new ClusterDatabase(options.databaseUrl, log));
    await migrate(database);
    const objects = new CatalogueObjects(database, storage);
    const identity = { name: options.name, session: randomUUID() };
    const queue = new Queue(database, identity);
    const membership = new Membership(database, { ...options, ...identity }, leaseMs);
    await membership.join();
    const publisher = new Publisher();
    const engine = options.openEngine(publisher);
    const secret = new ClusterSecret(options.secret);
    let worker: Worker | undefined;
    const parts: NodeParts = {
      identity,
      database,
      objects,
      store,
      engine,
      adoption: new Adoption({ database, objects, store, engine }),
      claims: new HeldClaims(),
      changes: new OperationChanges(),
      peers: owned.use(new Peers(database, secret)),
      secret,
      queue,
      log,
      takes: (image) => worker?.takes(image) === true,
      wake: () => worker?.wake(),
    };
    publisher.attach(parts);
    owned.use(new Janitor(database, storage, log));
    const heartbeat = owned.use(new Heartbeat(parts, { membership, leaseMs, out: options.out }));
    owned.use(await database.listen(CHANNELS, (channel, payload) => hear(parts, heartbeat, { channel, payload })));
    if (options.works) {
      const executor = new Executor(parts, publisher);
      worker = owned.use(new Worker(parts, { executor, hasLease: () => heartbeat.hasLease }));
      worker.start();
    }
    return new ClusterNode(parts, { worker, membership, heartbeat, owned: owned.move() });
  }

  /** Returns the cluster as a tenant sees it. */
  forTenant(tenant: Tenant): ConTree {
    return clusterContree(this.#parts, tenant);
  }

  /**
   * Connects to a port of an instance, at whichever node it is open. Faults: those of `Engine.connect`, NODE_UNREACHABLE.
   */
  async connect(tenant: Tenant, port: PortOfInstance, signal: AbortSignal): Promise<Duplex> {
    return connectThrough(new ClusterContext(this.#parts, tenant), port, signal);
  }

  /** Own engine. Other nodes ask it for what it runs, with the token of the cluster. */
  get engine(): Engine {
    return this.#parts.engine;
  }

  /** True while the node has a lease, and so has reached the database lately. */
  get hasLease(): boolean {
    return this.#heartbeat.hasLease;
  }

  /** Reports whether a bearer token is the one with which nodes ask each other. */
  isPeerToken(token: string): boolean {
    return this.#parts.secret.isPeerToken(token);
  }

  /** Tokens of the cluster's clients. */
  get tokens(): CatalogueTokens {
    return new CatalogueTokens(this.#parts.database);
  }

  /** Number of statements sent to the database so far. */
  get statements(): number {
    return this.#parts.database.statements;
  }

  /** Counts the work and the nodes of the cluster. Faults: CLUSTER_UNAVAILABLE. */
  async load(): Promise<ClusterLoad> {
    return clusterLoad(this.#parts.database);
  }

  /** Takes no more operations; called before the engine stops. */
  async rest(): Promise<void> {
    await this.#worker?.rest();
  }

  /** Stops the engine, ends in the catalogue what it had, and leaves the cluster. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.rest();
    await this.engine.stop(0);
    await this.#worker?.[Symbol.asyncDispose]();
    await this.#membership.leave().catch((error: unknown) => {
      this.#parts.log.warn({ err: error }, 'the node could not leave the cluster; its lease will end');
    });
    await this.#owned.disposeAsync();
  }
}

/** Acts on a notification. An empty one comes after a connection: something may have been missed. */
function hear(
  { changes, wake }: NodeParts,
  heartbeat: Heartbeat,
  { channel, payload }: { readonly channel: string; readonly payload: string },
): void {
  if (channel === 'contree_queue' || payload === '') wake();
  if (payload === '') {
    changes.tellAll();
    return;
  }
  const [operation = '', cancelled] = payload.split(' ', 2);
  if (cancelled !== undefined) heartbeat.cancel(operation);
  changes.tell(operation);
}
