import { availableParallelism, totalmem } from 'node:os';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { BootSpec } from '../sandbox/driver.ts';
import type { Resources } from './admission.ts';

const MiB = 1024 ** 2;
/** Memory of this host, which is read from a file each time that it is asked for. */
const HOST_MIB = totalmem() / MiB;
/** Share of the host's memory that all guests together may use. */
const MEMORY_SHARE = 0.75;
/** Guests per core. More than one, because guests also wait for disks and networks. */
const CPU_FACTOR = 1.5;
/** Memory that a guest costs the host in addition to its own, MiB. */
export const GUEST_OVERHEAD_MIB = 64;

/** Returns the resources for runs; `concurrency` 0 derives them from cores and memory. */
export function runCapacity(concurrency: number): Resources {
  // What guests touch of the usual template stays in memory as long as one of them runs: once for all of them, and
  // once more while a copy that has grown is replaced.
  const memoryMib = Math.max(0, Math.floor(HOST_MIB * MEMORY_SHARE) - 2 * limits.guestMemoryMibDefault);
  if (concurrency > 0) return { runs: concurrency, memoryMib };
  return { cpus: Math.max(2, Math.floor(availableParallelism() * CPU_FACTOR)), memoryMib };
}

/** Number of concurrent runs if all ask for the defaults. */
export function usualConcurrency(capacity: Resources, cost: Resources): number {
  const counts = Object.entries(capacity).map(([name, most]) => Math.floor(most / Math.max(1, cost[name] ?? 1)));
  return Math.max(1, Math.min(...counts));
}

/** Refuses a guest larger than the host's memory. Faults: ARGUMENT_INVALID. */
export function checkMemory(askedMib: number | undefined): void {
  const mostMib = Math.floor(HOST_MIB);
  if (askedMib === undefined || askedMib <= mostMib) return;
  throw fault('ARGUMENT_INVALID', { reason: `resources_limits.memory_mib: this host has ${mostMib} MiB` });
}

/**
 * Returns the resources of one run. A guest of an unusual size has a template of its own, which may grow to that size.
 */
export function runCost({ cpus, memoryMib }: Pick<BootSpec, 'cpus' | 'memoryMib'>): Resources {
  const usual = cpus === limits.guestCpusDefault && memoryMib === limits.guestMemoryMibDefault;
  return { runs: 1, cpus, memoryMib: memoryMib * (usual ? 1 : 2) + GUEST_OVERHEAD_MIB };
}

/**
 * Returns the resources of an instance that stays: its memory, for as long as it is open. It holds no cores, because it
 * waits for its user most of the time: those are shared between its commands and the runs as the kernel shares them.
 */
export function instanceCost({ memoryMib }: Pick<BootSpec, 'memoryMib'>): Resources {
  return { memoryMib: memoryMib + GUEST_OVERHEAD_MIB };
}

/** Returns the resources of a guest as a quota counts them: those it was asked to have, without our overhead. */
export function runClaim({ cpus, memoryMib }: Pick<BootSpec, 'cpus' | 'memoryMib'>): Resources {
  return { runs: 1, cpus, memoryMib };
}

/** Returns the resources of an instance that stays as a quota counts them. */
export function instanceClaim({ memoryMib }: Pick<BootSpec, 'memoryMib'>): Resources {
  return { memoryMib };
}

/** Returns the memory that instances may hold together: all but what a usual run needs, so that runs always go on. */
export function instanceMemoryMib({ memoryMib = 0 }: Resources): number {
  return Math.max(0, memoryMib - limits.guestMemoryMibDefault - GUEST_OVERHEAD_MIB);
}
