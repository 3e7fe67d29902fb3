import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { debianImage } from '../../scripts/support/debian-image.ts';
import { startRegistry, type LoopbackRegistry } from '../../scripts/support/registry.ts';
import type { HttpContree } from '../../src/client/index.ts';
import { defined } from '../../src/std/assert.ts';
import { cliHome, type CliHome } from '../../test/support/home.ts';
import type { OperationResponse } from '../../src/contract/operation.ts';
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
  /** `kvm` or `emulated`, which every figure depends on. */
  readonly accelerator: string;
  /** Runs a command to its end, in a microVM unless another sandbox is named, and returns the finished operation. */
  run(request: Omit<InstanceSpawnRequest, 'image'> & { readonly image?: string }): Promise<OperationResponse>;
  /** Waits for the end of an operation. */
  finished(operation: string): Promise<OperationResponse>;
  /** Returns the engine's memory and file descriptors. */
  engine(): Promise<EngineUse>;
}

export interface EngineUse {
  readonly memoryMib: number;
  readonly descriptors: number;
  /** Returns the size of the data directory, and of the database in it. */
  readonly diskBytes: number;
  readonly databaseBytes: number;
}

/** Opens the place; its first run makes the template, so that later measurements meet a warm engine. */
export async function openPlace(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const { layout } = await debianImage();
  const registry = stack.use(await startRegistry());
  const reference = await registry.push(layout, 'debian', 'library/debian:12');
  const home = stack.use(await cliHome());
  const { result_image_uuid: image } = await home.json<{ result_image_uuid: string }>(['import', reference]);
  const contree = stack.use(await home.connect());
  const finished = async (uuid: string): Promise<OperationResponse> => {
    for await (const event of contree.operations.events(uuid, { follow: true })) void event;
    return contree.operations.get(uuid);
  };
  // Budgets are those of microVMs, where a request does not name another sandbox.
  const run: Place['run'] = async (request) =>
    finished((await contree.runs.start({ image, sandbox: 'microvm', ...request })).uuid);
  const first = await run({ command: 'true', disposable: true });
  const accelerator = defined(first.execution, 'a run reports its execution').accelerator;
  const kept = stack.move();
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
    engine: () => useOfEngine(home.dataDir),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Throws unless the program of a run ended with status 0. */
export function succeeded(operation: OperationResponse): OperationResponse {
  const { metadata, error } = operation;
  const result = 'result' in metadata ? metadata.result : undefined;
  if (result?.state?.exit_code === 0) return operation;
  throw new Error(`a run failed: ${error ?? ''} ${result?.stderr?.value ?? ''}`);
}

/** Returns the process that has the data directory's database open. */
async function engineProcess(dataDir: string): Promise<string> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/u.test(name))) {
    const line = await readFile(join('/proc', pid, 'cmdline'), 'utf8').catch(() => '');
    if (line.includes(dataDir) && line.includes('engine')) return pid;
  }
  throw new Error('the engine of the benchmark is not running');
}

/** Returns an engine's resident memory: now, and its peak since `forgetPeak`. */
export async function memoryOfEngine(dataDir: string): Promise<{ readonly nowMib: number; readonly peakMib: number }> {
  const status = await readFile(join('/proc', await engineProcess(dataDir), 'status'), 'utf8');
  const mib = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'mu').exec(status)?.[1]) / 1024;
  return { nowMib: mib('VmRSS'), peakMib: mib('VmHWM') };
}

/** Resets the peak (proc(5), clear_refs). */
export async function forgetPeak(dataDir: string): Promise<void> {
  await writeFile(join('/proc', await engineProcess(dataDir), 'clear_refs'), '5');
}

async function useOfEngine(dataDir: string): Promise<EngineUse> {
  const { nowMib: memoryMib } = await memoryOfEngine(dataDir);
  const descriptors = (await readdir(join('/proc', await engineProcess(dataDir), 'fd'))).length;
  const sizes = await sizesOf(dataDir);
  const total = (of: typeof sizes): number => of.reduce((sum, { bytes }) => sum + bytes, 0);
  const databaseBytes = total(sizes.filter(({ name }) => name.startsWith('store.sqlite')));
  return { memoryMib, descriptors, diskBytes: total(sizes), databaseBytes };
}

/** Returns the files below a folder with their disk usage. */
async function sizesOf(folder: string): Promise<{ readonly name: string; readonly bytes: number }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Promise.all(
    files.map(async ({ name, parentPath }) => {
      const blocks = (await stat(join(parentPath, name)).catch(() => undefined))?.blocks ?? 0;
      return { name, bytes: blocks * 512 };
    }),
  );
}
