import { join } from 'node:path';
import { credentialFiles, quotaOf, type Environment, type Settings } from '../config/index.ts';
import { Engine } from '../engine/engine.ts';
import type { InstancePolicy } from '../engine/instance/policy.ts';
import { engineMetrics } from './engine-metrics.ts';
import type { OwnedEngine } from '../http/engine-life.ts';
import type { Log } from '../http/log.ts';
import { downloader } from '../images/import/download.ts';
import { imageImporter } from '../images/import/importer.ts';
import { imagePusher } from '../images/export/push.ts';
import { registrySettings } from '../registry/settings.ts';
import { openSandboxDriver } from './sandbox-driver.ts';
import { Store } from '../store/store.ts';

export interface EngineDeps {
  readonly version: string;
  readonly env: Environment;
  readonly log: Log;
  /** Folder with the guest of the package. */
  readonly guestDir: string;
}

/** Opens the engine of a data directory from its parts. This is the only place that knows all of them. */
export async function openEngine(settings: Settings, surroundings: EngineDeps): Promise<OwnedEngine> {
  const { version, env, log } = surroundings;
  const { dataDir, concurrency } = settings;
  await using parts = new AsyncDisposableStack();
  const store = parts.use(await Store.open(dataDir));
  const driver = parts.use(await openSandboxDriver(settings, surroundings));
  const { own, docker } = credentialFiles(env);
  const credentials = { storePath: own, dockerConfigPath: docker, environment: env };
  const registries = await registrySettings(settings, env);
  const importer = imageImporter({ registries, credentials });
  const pusher = imagePusher({ registries, credentials });
  const housekeeping = {
    unusedDays: settings.gcDays,
    ...(settings.gcMaxSize > 0 && { bytesMax: settings.gcMaxSize }),
  };
  const download = downloader(registries);
  const network = { importer, pusher, download, publishAddress: settings.publishListen };
  const bounds = { concurrency, instancePolicy: instancePolicyOf(settings), quota: quotaOf(settings.projectQuota) };
  const guestAgent = join(settings.guestDir || surroundings.guestDir, 'contree-agent');
  const options = { store, driver, ...network, guestAgent, version, ...bounds, housekeeping, log };
  if (settings.cluster !== '') {
    const { openNode } = await import('./cluster/node.ts');
    const node = await openNode(settings, options, parts);
    const owned = parts.move();
    return { ...node, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  }
  const engine = parts.use(Engine.open(options));
  // Closed in reverse order: nothing runs when the driver is closed, nothing writes when the store is closed.
  const owned = parts.move();
  return {
    contreeFor: (principal) => engine.forTenant(principal),
    connect: (principal, port, signal) => engine.connect(principal, port, signal),
    projects: engine.projects,
    busy: async () => engine.activeCount > 0,
    metrics: async () => engineMetrics(engine, store),
    leave: (graceMs) => engine.stop(graceMs),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function instancePolicyOf(settings: Settings): InstancePolicy {
  return {
    idleSeconds: settings.instanceIdleTimeout,
    lifeSeconds: settings.instanceLifetime,
    lifeSecondsMax: settings.instanceMaxLifetime,
    openMax: settings.instancesMax,
    checkpoint: settings.instanceCheckpoint === 0 ? undefined : { seconds: settings.instanceCheckpoint },
  };
}
