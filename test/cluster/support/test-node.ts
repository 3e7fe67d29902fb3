import { randomUUID } from 'node:crypto';
import { ClusterNode } from '../../../src/cluster/node/node.ts';
import type { ObjectStore } from '../../../src/cluster/objects/object-store.ts';
import { PERMISSIONS } from '../../../src/contract/permissions.ts';
import { Engine } from '../../../src/engine/engine.ts';
import type { InstancePolicy } from '../../../src/engine/instance/policy.ts';
import { SILENT_LOG } from '../../../src/engine/log.ts';
import type { Catalogue } from '../../../src/engine/node/catalogue.ts';
import { Activity } from '../../../src/http/activity.ts';
import { createApp } from '../../../src/http/app.ts';
import { OWNER, type Authentication } from '../../../src/http/auth.ts';
import { listen } from '../../../src/http/listen.ts';
import { SILENT } from '../../../src/http/log.ts';
import { admitPeers, PortTunnel } from '../../../src/http/pages/tunnel.ts';
import { present } from '../../../src/std/present.ts';
import { Store } from '../../../src/store/store.ts';
import { IMPORTER, PUSHER } from '../../conformance/contree.ts';
import { FakeDriver } from '../../support/fake-sandbox/driver.ts';

const PEER = { expiresAt: null, permissions: new Set(PERMISSIONS), project: 'default', limits: {}, isOwner: false };
const SECRET = 'the secret of the test';

export interface TestNodeOptions {
  readonly works?: boolean;
  readonly leaseMs?: number;
  /** Number of runs at once; default that of a node with this machine's processors and memory. */
  readonly concurrency?: number;
  readonly instancePolicy?: Partial<InstancePolicy>;
  /** Puts something between the engine and the catalogue. */
  readonly wrap?: (catalogue: Catalogue) => Catalogue;
}

/** Place of a node in a cluster. */
export interface TestNodePlace {
  readonly databaseUrl: string;
  readonly objects: ObjectStore;
  readonly dataDir: string;
  readonly name: string;
  /** Address at which other nodes reach it; loopback by default. */
  readonly address?: string;
  /** UUID of its data directory; a new one by default. */
  readonly owner?: string;
  /** Unix socket on which it serves the cluster to its owner; none by default. */
  readonly socket?: string;
}

/** A node of a test, with the fake driver and a listener for other nodes. */
export interface TestNode extends AsyncDisposable {
  readonly node: ClusterNode;
  readonly store: Store;
  readonly name: string;
}

/** Opens a node in this process. */
export async function openTestNode(place: TestNodePlace, options: TestNodeOptions = {}): Promise<TestNode> {
  const { databaseUrl, objects, dataDir, name, address = '127.0.0.1', socket } = place;
  const { wrap = (catalogue) => catalogue, concurrency, instancePolicy } = options;
  await using owned = new AsyncDisposableStack();
  const store = owned.use(await Store.open(dataDir));
  const driver = owned.use(new FakeDriver());
  const stop = new AbortController();
  const opening: { node?: ClusterNode } = {};
  const app = createApp({
    contreeFor: ({ project }) => opening.node!.engine.forTenant({ project, permissions: new Set(PERMISSIONS) }),
    version: 'test',
    log: SILENT,
    authentication: peersOf(opening),
    closing: stop.signal,
  });
  const tunnel = new PortTunnel({
    connect: (principal, port, signal) => opening.node!.engine.connect(principal, port, signal),
    admit: admitPeers((token) => (opening.node?.isPeerToken(token) === true ? PEER : undefined)),
    log: SILENT,
    closing: stop.signal,
  });
  const listener = owned.use(await listen(app, { kind: 'tcp', host: address, port: 0 }, new Activity(), tunnel));
  owned.defer(() => stop.abort());
  const parts = {
    store,
    driver,
    importer: IMPORTER,
    pusher: PUSHER,
    version: 'test',
    ...present({ concurrency, instancePolicy }),
  };
  const node = await ClusterNode.open({
    databaseUrl,
    storage: objects,
    store,
    openEngine: (catalogue) => Engine.open({ ...parts, catalogue: wrap(catalogue) }),
    secret: SECRET,
    name,
    owner: place.owner ?? randomUUID(),
    url: listener.address,
    version: 'test',
    works: options.works ?? true,
    out: () => undefined,
    log: SILENT_LOG,
    ...(options.leaseMs !== undefined && { leaseMs: options.leaseMs }),
  });
  opening.node = node;
  owned.defer(async () => {
    await node[Symbol.asyncDispose]();
    await node.engine[Symbol.asyncDispose]();
  });
  if (socket !== undefined) {
    const served = createApp({
      contreeFor: ({ project, permissions, isOwner }) => node.forTenant({ project, permissions, isOwner }),
      version: 'test',
      log: SILENT,
      authentication: { kind: 'fixed', principal: OWNER },
      closing: stop.signal,
    });
    owned.use(await listen(served, { kind: 'unix', path: socket }, new Activity()));
  }
  const all = owned.move();
  return { node, store, name, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Lets in the other nodes. */
function peersOf(opening: { readonly node?: ClusterNode }): Authentication {
  const verify = async (token: string) => (opening.node?.isPeerToken(token) === true ? PEER : undefined);
  return { kind: 'token', verifier: { verify } };
}
