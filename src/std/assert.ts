/** Violated invariant of our own code: a bug, never the caller's fault. It must not be caught to continue. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/**
 * Checks a belief about data that came from our own modules. Untrusted data is parsed instead and refused with a fault.
 */
export function assert(belief: boolean, because: string): asserts belief {
  if (!belief) throw new InvariantError(because);
}

/** Completes an exhaustive switch: a new variant then fails to compile here instead of failing in production. */
export function unreachable(value: never): never {
  throw new InvariantError(`unhandled variant: ${JSON.stringify(value)}`);
}

/** Returns the value. Throws an InvariantError when it is null or undefined although our own code guarantees one. */
export function defined<Value>(value: Value | null | undefined, because: string): Value {
  if (value === null || value === undefined) throw new InvariantError(because);
  return value;
}
