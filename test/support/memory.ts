import { setTimeout as delay } from 'node:timers/promises';
import { freeMemory } from '../../src/std/memory.ts';

export const MIB = 1024 ** 2;

/** Memory that is still being freed does not count as kept: so often, and at such intervals, it is measured again. */
const LOOKS = 5;
const LOOK_MS = 50;

/** Returns the bytes of this process that stay in use after collection. */
export async function usedBytes(): Promise<number> {
  let least = Infinity;
  for (let look = 0; look < LOOKS; look += 1) {
    // Only time can show it: nothing reports that a freed buffer has been swept.
    if (look > 0) await delay(LOOK_MS);
    freeMemory('all');
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    least = Math.min(least, heapUsed + arrayBuffers);
  }
  return least;
}
