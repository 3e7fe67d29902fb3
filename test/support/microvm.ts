import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buildLayer } from '../../src/layers/build-layer.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { openMicrovmDriver, type MicrovmOptions } from '../../src/sandbox/microvm/driver.ts';
import { jailProcesses, ownerOf } from '../../src/sandbox/host/stale-vms.ts';
import type { BootSpec, Instance, Outcome, SandboxDriver } from '../../src/sandbox/driver.ts';
import { STORED_MODE } from './layers.ts';
import { busyboxMembers } from './small-image.ts';
import { tarOf } from './tar.ts';

export const GUEST_DIR = resolve(import.meta.dirname, '../../guest/dist');

/** Accelerator that `npm run test:attacks` selects, for tests that do not choose one. */
const ACCELERATOR = (process.env['CONTREE_ACCELERATOR'] ?? 'auto') as MicrovmOptions['accelerator'];

/** An opened driver with its own state folder, and a busybox image of one layer. */
export interface DriverBench<Driver> extends AsyncDisposable {
  readonly driver: Driver;
  readonly stateDir: string;
  readonly layers: readonly LayerFile[];
  /** Returns the number of processes and files of the driver's running sandboxes. */
  live(): Promise<number>;
}

/** A folder for the state and the image of one test file. Its drivers share it, because making a template takes seconds. */
export interface DriverFolder<Options, Bench> extends AsyncDisposable {
  readonly stateDir: string;
  readonly layers: readonly LayerFile[];
  open(options?: Partial<Options>): Promise<Bench>;
}

export interface MicrovmBench extends DriverBench<SandboxDriver> {
  readonly logged: readonly string[];
}

export type MicrovmFolder = DriverFolder<MicrovmOptions, MicrovmBench>;

export async function driverFolder<Options, Bench>(
  name: string,
  open: (stateDir: string, layers: readonly LayerFile[], options: Partial<Options>) => Promise<Bench>,
): Promise<DriverFolder<Options, Bench>> {
  const folder = await mkdtemp(join(tmpdir(), `contree-${name}-`));
  const layers = [await busyboxLayer(join(folder, 'busybox.erofs'))];
  const stateDir = join(folder, 'state');
  return {
    stateDir,
    layers,
    open: (options = {}) => open(stateDir, layers, options),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Returns the bench of a driver that was opened in a folder. */
export function driverBench<Driver extends SandboxDriver>(
  driver: Driver,
  stateDir: string,
  layers: readonly LayerFile[],
): DriverBench<Driver> {
  return {
    driver,
    stateDir,
    layers,
    live: async () => (await jailPids(stateDir)).length + (await readdir(join(stateDir, 'tmp'))).length,
    [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose](),
  };
}

export async function microvmFolder(): Promise<MicrovmFolder> {
  return driverFolder('vm', openBench);
}

async function openBench(
  stateDir: string,
  layers: readonly LayerFile[],
  options: Partial<MicrovmOptions>,
): Promise<MicrovmBench> {
  const logged: string[] = [];
  const log = (message: string): void => {
    logged.push(message);
  };
  const driver = await openMicrovmDriver({ stateDir, guestDir: GUEST_DIR, accelerator: ACCELERATOR, log, ...options });
  return { ...driverBench(driver, stateDir, layers), logged };
}

export async function busyboxLayer(path: string): Promise<LayerFile> {
  async function* tar(): AsyncGenerator<Uint8Array> {
    yield tarOf(await busyboxMembers());
  }
  const { bytes } = await buildLayer(tar(), path);
  await chmod(path, STORED_MODE);
  return { path, bytes };
}

/** Returns the processes of the host in jails of this state folder: bubblewrap and its children. */
export function jailPids(stateDir: string): Promise<number[]> {
  return jailProcesses(ownerOf(stateDir));
}

/** Returns the QEMU processes in these jails. */
export async function qemuPids(stateDir: string): Promise<number[]> {
  const named = await Promise.all(
    (await jailPids(stateDir)).map(
      async (pid) => [pid, await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')] as const,
    ),
  );
  return named.filter(([, name]) => name.startsWith('qemu-system')).map(([pid]) => pid);
}

/** Returns a usual boot spec, of which a test may change fields. */
export function bootSpec(layers: readonly LayerFile[], changes: Partial<BootSpec> = {}): BootSpec {
  const usual = { cpus: 1, memoryMib: 1_024, diskBytes: 256 * 1024 ** 2, hostname: 'box' };
  return { layers, ...usual, network: { mode: 'none' }, ...changes };
}

/** Runs a shell script as root and returns its exit code and output. */
export async function runScript(
  instance: Instance,
  script: string,
): Promise<{ readonly outcome: Outcome; readonly stdout: string; readonly stderr: string }> {
  const env = { PATH: '/usr/bin:/usr/sbin:/bin:/sbin' };
  const what = { argv: ['sh', '-c', script], env, cwd: '/', uid: 0, gid: 0, stdin: false };
  const process = await instance.start(what, AbortSignal.timeout(60_000));
  const text = { stdout: '', stderr: '' };
  for await (const { stream, bytes } of process.output) text[stream] += Buffer.from(bytes).toString('latin1');
  return { outcome: await process.outcome, ...text };
}
