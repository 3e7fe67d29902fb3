import { readFile } from 'node:fs/promises';
import { type GvisorOptions, openGvisorDriver, type TriedDriver } from '../../src/sandbox/gvisor/driver.ts';
import { searchRunsc } from '../../src/sandbox/gvisor/runsc.ts';
import type { BootSpec, Instance, SandboxDriver } from '../../src/sandbox/driver.ts';
import { type DriverBench, driverBench, type DriverFolder, driverFolder, GUEST_DIR, jailPids } from './microvm.ts';

export type GvisorBench = DriverBench<TriedDriver>;
export type GvisorFolder = DriverFolder<GvisorOptions, GvisorBench>;

/** Reports whether this host has a runsc, on the PATH or beside the guest, that can be used. */
export async function hasRunsc(): Promise<boolean> {
  const places = { path: process.env['PATH'] ?? '', guestDir: GUEST_DIR };
  return (await searchRunsc(places, AbortSignal.timeout(60_000))).found !== undefined;
}

export async function gvisorFolder(): Promise<GvisorFolder> {
  // As the engine does, whose sandboxes belong to other users.
  process.umask(0o077);
  return driverFolder('gvisor', async (stateDir, layers, options: Partial<GvisorOptions>) => {
    const path = process.env['PATH'] ?? '';
    return driverBench(await openGvisorDriver({ stateDir, guestDir: GUEST_DIR, path, ...options }), stateDir, layers);
  });
}

/** A command line by which `crashing` is told to end the guest: no program of a guest can end gVisor. */
export const CRASH: readonly string[] = ['sleep', '86399'];

/** Returns a driver whose guests go away, as if their kernel had failed, when they are asked to run `CRASH`. */
export function crashing(bench: GvisorBench): SandboxDriver {
  const { driver, stateDir } = bench;
  const withCrash = (instance: Instance): Instance => ({
    facts: instance.facts,
    lost: instance.lost,
    changes: (signal) => instance.changes(signal),
    connect: (port, signal) => instance.connect(port, signal),
    snapshot: (signal) => instance.snapshot(signal),
    networkUse: () => instance.networkUse(),
    [Symbol.asyncDispose]: () => instance[Symbol.asyncDispose](),
    start: async (command, signal) => {
      const process = await instance.start(command, signal);
      if (command.argv.join() === CRASH.join()) await killSandboxes(stateDir);
      return process;
    },
  });
  return {
    name: driver.name,
    warm: () => driver.warm(),
    start: async (spec: BootSpec, signal: AbortSignal) => withCrash(await driver.start(spec, signal)),
    kindOf: () => driver.kindOf(),
    collect: (request) => driver.collect(request),
    inspect: (signal) => driver.inspect(signal),
    [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose](),
  };
}

/** Sandbox processes of this state folder: gVisor's kernels. */
export async function sentryPids(stateDir: string): Promise<number[]> {
  const named = await Promise.all(
    (await jailPids(stateDir)).map(
      async (pid) => [pid, await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')] as const,
    ),
  );
  return named.filter(([, line]) => line.startsWith('runsc-sandbox\0')).map(([pid]) => pid);
}

async function killSandboxes(stateDir: string): Promise<void> {
  for (const pid of await sentryPids(stateDir)) process.kill(pid, 'SIGKILL');
}
