import { isFault } from '../../src/contract/errors.ts';

/** Returns the check that an error is the fault of a Dockerfile at a line, with that text. */
export function atLine(line: number, text = /./u): (error: unknown) => boolean {
  return (error) => isFault(error, 'DOCKERFILE_INVALID') && error.detail['line'] === line && text.test(error.message);
}
