import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { ClusterNode } from '../../cluster/node/node.ts';
import { openObjects } from '../../cluster/objects/open.ts';
import type { Settings } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import { isUuid } from '../../contract/names.ts';
import { Engine, type EngineOptions } from '../../engine/engine.ts';
import type { OwnedEngine } from '../../http/engine-life.ts';
import type { Log } from '../../http/log.ts';
import { writeFileAtomically } from '../../std/files.ts';
import { engineMetrics } from '../engine-metrics.ts';
import { clusterMetrics } from './metrics.ts';
import { ClusterTokens, isPeer, PEER_PRINCIPAL } from './tokens.ts';

const SECRET_CHARACTERS_MIN = 32;
const CHECK_MS = 30_000;

/**
 * Opens the engine of a data directory as one node of a cluster. `parts` takes what has to be disposed. Faults: those of
 * the settings, of the database and of the object storage; NODE_NAME_TAKEN.
 */
export async function openNode(
  settings: Settings,
  options: EngineOptions & { readonly log: Log },
  parts: AsyncDisposableStack,
): Promise<Omit<OwnedEngine, typeof Symbol.asyncDispose>> {
  // Quotas of one node would say nothing about those of the cluster.
  const { quota: _quota, ...own } = options;
  const { store, log, version } = own;
  const { url, secret } = nodeSettings(settings);
  const storage = parts.use(await openObjects(settings.objects));
  await storage.check(AbortSignal.timeout(CHECK_MS));
  const node = await ClusterNode.open({
    databaseUrl: settings.cluster,
    storage,
    store,
    openEngine: (catalogue) => parts.use(Engine.open({ ...own, catalogue })),
    secret,
    name: settings.nodeName === '' ? hostname() : settings.nodeName,
    owner: await ownerOf(store.directory),
    url,
    version,
    works: settings.role.includes('worker'),
    out: () => leave(log),
    log,
  });
  // Disposed before the engine: what it still had to end is ended in the catalogue.
  parts.use(node);
  const { engine } = node;
  return {
    contreeFor: (principal) => (isPeer(principal) ? engine.forTenant(principal) : node.forTenant(principal)),
    connect: (principal, port, signal) =>
      isPeer(principal) ? engine.connect(principal, port, signal) : node.connect(principal, port, signal),
    peerOf: (token) => (node.isPeerToken(token) ? PEER_PRINCIPAL : undefined),
    busy: async () => engine.activeCount > 0,
    isReady: () => node.hasLease,
    metrics: async () => [...(await engineMetrics(engine, store)), ...(await clusterMetrics(() => node.load()))],
    tokens: new ClusterTokens(node),
    leave: async (graceMs) => {
      await node.rest();
      await engine.stop(graceMs);
    },
  };
}

/** Checks the settings of a node. Faults: CONFIG_INVALID. */
function nodeSettings({ clusterSecret, nodeUrl, httpListen, httpPort, tlsCert, objects }: Settings): {
  readonly url: string;
  readonly secret: string;
} {
  if (objects === '') throw fault('CONFIG_INVALID', { setting: '--objects', reason: 'a cluster needs one' });
  if (clusterSecret.length < SECRET_CHARACTERS_MIN) {
    const reason = `a cluster needs one of at least ${SECRET_CHARACTERS_MIN} characters`;
    throw fault('CONFIG_INVALID', { setting: '--cluster-secret', reason });
  }
  if (nodeUrl !== '') return { url: nodeUrl.replace(/\/+$/u, ''), secret: clusterSecret };
  const isAny = httpListen === '0.0.0.0' || httpListen === '::';
  if (httpPort === 0 || isAny) {
    const reason = 'needed where the address of the HTTP server does not say how others reach it';
    throw fault('CONFIG_INVALID', { setting: '--node-url', reason });
  }
  const host = httpListen.includes(':') ? `[${httpListen}]` : httpListen;
  return { url: `${tlsCert === '' ? 'http' : 'https'}://${host}:${httpPort}`, secret: clusterSecret };
}

/** Returns the UUID of a data directory, made at its first use. */
async function ownerOf(directory: string): Promise<string> {
  const path = join(directory, 'node.id');
  const known = (await readFile(path, 'utf8').catch(() => '')).trim();
  if (isUuid(known)) return known;
  const made = randomUUID();
  await writeFileAtomically(path, `${made}\n`, { mode: 0o600 });
  return made;
}

/** Ends the process as if it had been asked to: it does not belong to the cluster any more. */
function leave(log: Log): void {
  log.error({}, 'another process has the name of this node in the cluster; this one ends');
  process.kill(process.pid, 'SIGTERM');
}
