import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { debianImage } from '../../scripts/support/debian-image.ts';
import { startRegistry, type LoopbackRegistry } from '../../scripts/support/registry.ts';
import type { HttpContree } from '../../src/client/index.ts';
import { defined } from '../../src/std/assert.ts';
import { cliHome, type CliHome } from '../../test/support/home.ts';
import type { OperationResponse } from '../../src/contract/index.ts';
import type { InstanceSpawnRequest } from '../../src/contract/run.ts';

/** A fresh data directory with its engine, a loopback registry, and a Debian image of about 270 MB in both. */
export interface Place extends AsyncDisposable {
  readonly home: CliHome;
  readonly contree: HttpContree;
  readonly registry: LoopbackRegistry;
  /** Reference of the Debian image in the registry. */
  readonly reference: string;
  /** OCI layout directory of the same image. */
  readonly layout: string;
  /** UUID of the imported image. */
  readonly image: string;
  /** `kvm` or `emulated`: no figure is worth anything without it. */
  readonly accelerator: string;
  /** Runs to the end and returns the finished operation. */
  run(request: Omit<InstanceSpawnRequest, 'image'> & { readonly image?: string }): Promise<OperationResponse>;
  /** Waits for an operation that was started. */
  finished(operation: string): Promise<OperationResponse>;
  /** Memory of the engine process that is in use, in MiB. */
  engineMemoryMib(): Promise<number>;
}

/** Opens the place; the first run makes the template, so that what is measured afterwards is a warm engine. */
export async function openPlace(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const { layout } = await debianImage();
  const registry = stack.use(await startRegistry());
  const reference = await registry.push(layout, 'debian', 'library/debian:12');
  const home = stack.use(await cliHome());
  const { result_image_uuid: image } = await home.json<{ result_image_uuid: string }>(['import', reference]);
  const contree = stack.use(await home.connect());
  const finished = async (uuid: string): Promise<OperationResponse> => {
    for await (const event of contree.events(uuid, { follow: true })) void event;
    return contree.getOperation(uuid);
  };
  const run: Place['run'] = async (request) => finished((await contree.spawn({ image, ...request })).uuid);
  const first = await run({ command: 'true', disposable: true });
  const accelerator = defined(first.execution, 'a run reports its execution').accelerator;
  const kept = stack.move();
  const engineMemoryMib = (): Promise<number> => memoryOfEngine(home.dataDir);
  return {
    home,
    contree,
    registry,
    reference,
    layout,
    image,
    accelerator,
    run,
    finished,
    engineMemoryMib,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** The process that has the data directory's database open. */
async function memoryOfEngine(dataDir: string): Promise<number> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/u.test(name))) {
    const line = await readFile(join('/proc', pid, 'cmdline'), 'utf8').catch(() => '');
    if (!line.includes(dataDir) || !line.includes('engine')) continue;
    const status = await readFile(join('/proc', pid, 'status'), 'utf8').catch(() => '');
    const resident = /^VmRSS:\s+(\d+) kB/mu.exec(status)?.[1];
    if (resident !== undefined) return Number(resident) / 1024;
  }
  throw new Error('the engine of the benchmark is not running');
}
