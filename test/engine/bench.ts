import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LayerBuilder } from '../../src/layers/layer-builder.ts';
import type { ConTree } from '../../src/contract/contree.ts';
import type { OperationEvent } from '../../src/contract/event.ts';
import { EMPTY_IMAGE_CONFIG, type ImageConfig } from '../../src/contract/image.ts';
import type { OperationResponse } from '../../src/contract/operation.ts';
import type { InstanceResult, InstanceSpawnRequest } from '../../src/contract/run.ts';
import { Engine, type EngineOptions } from '../../src/engine/engine.ts';
import type { Importer } from '../../src/images/import/importer.ts';
import type { Pusher } from '../../src/images/export/push.ts';
import { NO_XATTRS } from '../../src/erofs/node.ts';
import type { SandboxDriver } from '../../src/sandbox/driver.ts';
import { FakeDriver, type FakeHooks } from '../support/fake-sandbox/driver.ts';
import type { Layer } from '../../src/store/layers.ts';
import type { StoredImage } from '../../src/store/images.ts';
import type { ProjectStore } from '../../src/store/project-store.ts';
import { Store } from '../../src/store/store.ts';

export interface EngineBench extends AsyncDisposable {
  readonly engine: Engine;
  readonly store: Store;
  readonly driver: FakeDriver;
  readonly directory: string;
  /** A root image with a few files. */
  readonly base: StoredImage;
}

export interface BenchOptions extends Partial<
  Pick<
    EngineOptions,
    'concurrency' | 'quota' | 'importer' | 'pusher' | 'download' | 'guestAgent' | 'instancePolicy' | 'catalogue'
  >
> {
  readonly hooks?: FakeHooks;
  readonly config?: Partial<ImageConfig>;
  /** Driver of the runs, owned by the caller; otherwise the fake one. */
  readonly sandbox?: SandboxDriver;
  /** Existing data directory, which is kept; otherwise the engine gets a new one. */
  readonly directory?: string;
}

const NO_IMPORTER: Importer = {
  fromRegistry: async () => Promise.reject(new Error('this test imports nothing')),
  fromArchive: async () => Promise.reject(new Error('this test imports nothing')),
};

const NO_PUSHER: Pusher = async () => Promise.reject(new Error('this test pushes nothing'));

/** An engine over a new store and the fake driver. */
export async function openEngine(options: BenchOptions = {}): Promise<EngineBench> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'contree-engine-')));
  const store = await Store.open(directory);
  const driver = new FakeDriver(options.hooks);
  const base = await addRoot(store, options.config);
  const engine = startEngine(store, options.sandbox ?? driver, options);
  return {
    engine,
    store,
    driver,
    directory,
    base,
    [Symbol.asyncDispose]: async () => {
      await engine[Symbol.asyncDispose]();
      await driver[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}

export function startEngine(store: Store, driver: SandboxDriver, options: BenchOptions = {}): Engine {
  return Engine.open({
    store,
    driver,
    importer: options.importer ?? NO_IMPORTER,
    pusher: options.pusher ?? NO_PUSHER,
    version: 'test',
    ...(options.concurrency !== undefined && { concurrency: options.concurrency }),
    ...(options.instancePolicy && { instancePolicy: options.instancePolicy }),
    ...(options.catalogue !== undefined && { catalogue: options.catalogue }),
    ...(options.quota && { quota: options.quota }),
    ...(options.download !== undefined && { download: options.download }),
    ...(options.guestAgent !== undefined && { guestAgent: options.guestAgent }),
  });
}

/** Makes the layer of `addRoot`. */
export async function rootLayer(store: ProjectStore, marker: string): Promise<Layer> {
  await using staged = store.layers.stage();
  await using builder = await LayerBuilder.create(staged.path);
  const metadata = { mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 1_700_000_000, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
  const content = Buffer.from(`root:x:0:0:root:/root:/bin/sh\n# ${marker}\n`);
  await builder.add('etc/passwd', { ...metadata, type: 'file', size: content.length, content: once(content) });
  await builder.add('usr/bin', { ...metadata, mode: 0o755, type: 'directory' });
  await builder.add('root', { ...metadata, mode: 0o700, type: 'directory' });
  await builder.add('bin', { ...metadata, mode: 0o777, type: 'symlink', target: 'usr/bin' });
  return await store.layers.publish(staged, await builder.finish());
}

/** Makes a root image: `/etc/passwd`, `/bin` as a link to `/usr/bin`. */
export async function addRoot(
  store: ProjectStore,
  config: Partial<ImageConfig> = {},
  marker = 'base',
): Promise<StoredImage> {
  const layer = await rootLayer(store, marker);
  return store.images.create({ layers: [layer.digest], config: { ...EMPTY_IMAGE_CONFIG, ...config } });
}

export async function* once(bytes: Uint8Array | string): AsyncIterable<Uint8Array> {
  yield Buffer.from(bytes);
}

/** Returns the request of a run of a shell script in the bench's image. */
export function script(
  bench: EngineBench,
  command: string,
  more: Partial<InstanceSpawnRequest> = {},
): InstanceSpawnRequest {
  return { command, shell: true, image: bench.base.uuid, ...more };
}

/** Runs a command to its end. */
export async function run(contree: ConTree, request: InstanceSpawnRequest): Promise<OperationResponse> {
  const { uuid } = await contree.runs.start(request);
  return finished(contree, uuid);
}

/** Waits for the end of an operation by its log. */
export async function finished(contree: ConTree, uuid: string): Promise<OperationResponse> {
  await followed(contree, uuid);
  return contree.operations.get(uuid);
}

/** A test that hangs ends then; busy machines take long for a hundred steps. */
const FOLLOWED_MS_MAX = 300_000;

/** Returns the whole log once the operation has ended. */
export async function followed(contree: ConTree, uuid: string): Promise<OperationEvent[]> {
  return collectEvents(contree.operations.events(uuid, { follow: true }, AbortSignal.timeout(FOLLOWED_MS_MAX)));
}

export async function collectEvents(events: AsyncIterable<OperationEvent>): Promise<OperationEvent[]> {
  const all: OperationEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** Waits for the first matching event. */
export async function seen(
  contree: ConTree,
  uuid: string,
  fits: (event: OperationEvent) => boolean,
): Promise<OperationEvent> {
  for await (const event of contree.operations.events(uuid, { follow: true }, AbortSignal.timeout(30_000))) {
    if (fits(event)) return event;
  }
  throw new Error(`the log of ${uuid} ended without the event`);
}

/** Returns the result of a run's main process. */
export function resultOf(operation: OperationResponse): InstanceResult {
  if (!('result' in operation.metadata)) throw new Error('not a run');
  return operation.metadata.result;
}

export function stdoutOf(operation: OperationResponse): string {
  return resultOf(operation).stdout?.value ?? '';
}
