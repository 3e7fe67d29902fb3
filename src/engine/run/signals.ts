import { constants } from 'node:os';
import { fault } from '../../contract/errors.ts';

/** Returns the number of a signal given by name, with or without SIG, or by number. */
export function signalNumber(name: string): number {
  const bare = name.toUpperCase().replace(/^SIG/u, '');
  const known: Readonly<Record<string, number | undefined>> = constants.signals;
  const number = /^\d{1,2}$/u.test(bare) ? Number(bare) : known[`SIG${bare}`];
  if (number === undefined || number < 1 || number > 64) {
    throw fault('ARGUMENT_INVALID', {
      reason: `signal: ${JSON.stringify(name)} is not a signal, such as TERM or KILL`,
    });
  }
  return number;
}
