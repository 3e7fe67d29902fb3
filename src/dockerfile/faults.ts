import { fault } from '../contract/errors.ts';

/** Returns the fault of a Dockerfile that is wrong, or not supported, at a line. */
export function dockerfileFault(line: number, reason: string): Error {
  return fault('DOCKERFILE_INVALID', { line, reason });
}
