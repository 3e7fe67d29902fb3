import { assert, defined } from '../std/assert.ts';
import { limits } from '../contract/limits.ts';

/**
 * Memory sizes of guests in MiB, ascending. A request gets the smallest of them that is large enough, because a driver may
 * keep a template for each size. Two neighbours differ by half of the smaller one at most from 1 GiB on.
 */
const SIZES_MIB: readonly number[] = [128, 256, 512, 1_024, 1_536, 2_048, 3_072, 4_096, 6_144, 8_192, 12_288, 16_384];

assert(SIZES_MIB.includes(limits.guestMemoryMibDefault), 'the default is one of the sizes');
assert(SIZES_MIB.at(-1) === limits.guestMemoryMibMax, 'every request that is allowed has a size');

/** Returns the memory in MiB of a guest for which at least `askedMib` was requested, which is within the limits. */
export function guestMemoryMib(askedMib: number): number {
  return defined(
    SIZES_MIB.find((size) => size >= askedMib),
    'the request is within the limits',
  );
}
