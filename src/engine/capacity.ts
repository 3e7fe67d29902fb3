import { availableParallelism, totalmem } from 'node:os';
import { limits } from '../contract/limits.ts';
import type { BootSpec } from '../sandbox/driver.ts';
import type { Resources } from './admission.ts';

const MiB = 1024 ** 2;
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
  const memoryMib = Math.max(0, Math.floor((totalmem() / MiB) * MEMORY_SHARE) - 2 * limits.guestMemoryMibDefault);
  if (concurrency > 0) return { runs: concurrency, memoryMib };
  return { cpus: Math.max(2, Math.floor(availableParallelism() * CPU_FACTOR)), memoryMib };
}

/** Number of concurrent runs if all ask for the defaults. */
export function usualConcurrency(capacity: Resources, cost: Resources): number {
  const counts = Object.entries(capacity).map(([name, most]) => Math.floor(most / Math.max(1, cost[name] ?? 1)));
  return Math.max(1, Math.min(...counts));
}

/** Returns the memory of the host, MiB. */
export function hostMemoryMib(): number {
  return Math.floor(totalmem() / MiB);
}

/**
 * Returns the resources of one run. A guest of an unusual size has a template of its own, which may grow to that size.
 */
export function runCost({ cpus, memoryMib }: Pick<BootSpec, 'cpus' | 'memoryMib'>): Resources {
  const usual = cpus === limits.guestCpusDefault && memoryMib === limits.guestMemoryMibDefault;
  return { runs: 1, cpus, memoryMib: memoryMib * (usual ? 1 : 2) + GUEST_OVERHEAD_MIB };
}
