import { availableParallelism, totalmem } from 'node:os';
import type { BootSpec } from '../sandbox/driver.ts';
import type { Resources } from './admission.ts';

const MiB = 1024 ** 2;
/** Share of the memory that guests may take together. */
const MEMORY_SHARE = 0.75;
/** Guests wait for disks and networks too, so that more of them than cores keep the cores busy. */
const CPU_FACTOR = 1.5;
/** What a guest costs the host beside its memory. */
export const GUEST_OVERHEAD_MIB = 64;

/** What there is for runs; `concurrency` 0 leaves it to cores and memory. */
export function runCapacity(concurrency: number): Resources {
  const memoryMib = Math.floor((totalmem() / MiB) * MEMORY_SHARE);
  if (concurrency > 0) return { runs: concurrency, memoryMib };
  return { cpus: Math.max(2, Math.floor(availableParallelism() * CPU_FACTOR)), memoryMib };
}

/** Runs at the same time if all ask for the defaults. */
export function usualConcurrency(capacity: Resources, cost: Resources): number {
  const counts = Object.entries(capacity).map(([name, most]) => Math.floor(most / Math.max(1, cost[name] ?? 1)));
  return Math.max(1, Math.min(...counts));
}

/** What one run takes. */
export function runCost({ cpus, memoryMib }: Pick<BootSpec, 'cpus' | 'memoryMib'>): Resources {
  return { runs: 1, cpus, memoryMib: memoryMib + GUEST_OVERHEAD_MIB };
}
