import { type ContreeError, fault } from '../contract/errors.ts';

/**
 * Returns the fault for a layer file that does not hold what we wrote. Layers are written by us only, so the store is
 * damaged.
 */
export function damaged(reason: string): ContreeError {
  return fault('STORE_CORRUPT', { what: 'a layer', reason });
}
