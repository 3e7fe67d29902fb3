import { isFault, type ContreeError } from '../contract/errors.ts';
import type { CliHost } from './host.ts';
import { visible } from './text.ts';

export const EXIT = { usage: 2, interrupted: 130, terminated: 143, bug: 70 } as const;

/** Reports what went wrong: message and hint for people, the error object with `--json`. Returns the exit code. */
export function tellFailure(host: CliHost, error: unknown, json: boolean): number {
  if (isInterrupt(error)) return EXIT.interrupted;
  const fault = faultIn(error);
  if (fault === undefined) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    host.stderr.write(`error: this is a bug in contree\n${text}\n`);
    return EXIT.bug;
  }
  if (json) host.stdout.write(`${JSON.stringify({ error: fault.toJSON() })}\n`);
  // Further lines, such as output of a step, are set back, so that none of them can pass for one of ours.
  else host.stderr.write(`error: ${fault.message.trimEnd().split('\n').map(visible).join('\n  ')}\n${fault.hint}\n`);
  return fault.exitCode;
}

export function isInterrupt(error: unknown): boolean {
  return error instanceof Error && error.message === 'interrupted';
}

/**
 * Returns the fault behind a `SuppressedError`: cleanup after a fault may fail too, and the user needs to see the
 * fault.
 */
function faultIn(error: unknown): ContreeError | undefined {
  if (isFault(error)) return error;
  if (error instanceof SuppressedError) return faultIn(error.suppressed) ?? faultIn(error.error);
  return undefined;
}
