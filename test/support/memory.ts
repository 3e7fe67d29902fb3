import { setTimeout as delay } from 'node:timers/promises';
import { freeMemory } from '../../src/std/memory.ts';

export const MIB = 1024 ** 2;

/** What is being closed or swept is not kept: so often and so long it is looked again. */
const LOOKS = 5;
const LOOK_MS = 50;

/** Bytes of this process that stay in use once everything unused is collected. */
export async function usedBytes(): Promise<number> {
  let least = Infinity;
  for (let look = 0; look < LOOKS; look += 1) {
    if (look > 0) await delay(LOOK_MS);
    freeMemory('all');
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    least = Math.min(least, heapUsed + arrayBuffers);
  }
  return least;
}
