/** A belief about our own code that turned out false: a bug, never the caller's fault. Not to be caught to go on. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Checks a belief about data that came from our own modules. Untrusted data is parsed instead and refused with a fault. */
export function assert(belief: boolean, because: string): asserts belief {
  if (!belief) throw new InvariantError(because);
}

/** Closes a switch: adding a variant then fails to compile here, not in production. */
export function unreachable(value: never): never {
  throw new InvariantError(`unhandled variant: ${JSON.stringify(value)}`);
}

/** The value, or an InvariantError when our own code promised one and there is none. */
export function defined<Value>(value: Value | null | undefined, because: string): Value {
  if (value === null || value === undefined) throw new InvariantError(because);
  return value;
}
