import { type ContreeError, fault } from '../contract/errors.ts';

/** A layer file does not hold what we once wrote into it. Layers are ours, so it is the store that is damaged. */
export function damaged(reason: string): ContreeError {
  return fault('STORE_CORRUPT', { what: 'a layer', reason });
}
