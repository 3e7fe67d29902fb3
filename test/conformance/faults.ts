import assert from 'node:assert/strict';
import { isFault, type ErrorCode } from '../../src/contract/errors.ts';

/** UUID of nothing. */
export const NOWHERE = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';

/** Returns a check for `assert.rejects` of a fault and its hint. */
export function faults(code: ErrorCode) {
  return (error: unknown): boolean => {
    assert.ok(isFault(error, code), String(error));
    assert.ok(error.hint !== '', 'a fault says what to do next');
    return true;
  };
}
