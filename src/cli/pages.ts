import type { Command } from 'commander';
import { present } from '../std/present.ts';
import { limits } from '../contract/limits.ts';
import { fault } from '../contract/errors.ts';

/** Parses a whole number typed by the user. Faults: ARGUMENT_INVALID. */
export function wholeNumber(text: string, name: string, min = 1, max = Infinity): number {
  const number = /^\d{1,12}$/u.test(text) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  const bounds = max === Infinity ? `${min} or more` : `${min} to ${max}`;
  throw fault('ARGUMENT_INVALID', { reason: `${name} takes a whole number, ${bounds}, not ${JSON.stringify(text)}` });
}

/** Reads as many pages as needed for `limit` entries, or all. */
export async function collectPages<Value>(
  read: (page: { readonly limit: number; readonly offset: number }) => Promise<readonly Value[]>,
  limit: string | undefined = '100',
  all = false,
): Promise<Value[]> {
  const wanted = all ? Infinity : wholeNumber(limit, '--limit');
  const found: Value[] = [];
  while (found.length < wanted) {
    const page = { limit: Math.min(wanted - found.length, limits.pageMax), offset: found.length };
    const entries = await read(page);
    found.push(...entries);
    if (entries.length < page.limit) break;
  }
  return found;
}

/** Options of a list that is filtered by time. */
export interface PeriodOptions {
  readonly since?: string;
  readonly until?: string;
}

/** Adds the filters by time to a command that lists. */
export function addPeriodOptions(command: Command): Command {
  return command
    .option('--since <TIME>', 'only from this time on: an age such as 15m, 3d or 1w, ISO 8601, or a Unix timestamp')
    .option('--until <TIME>', 'only up to this time');
}

/** Parses the filters by time. Faults: ARGUMENT_INVALID. */
export async function periodOf({ since, until }: PeriodOptions): Promise<{ since?: Date; until?: Date }> {
  if (since === undefined && until === undefined) return {};
  // Loaded on demand: the schemas take longer than most commands.
  const { moment } = await import('../contract/api/query.ts');
  const parse = (name: string, text: string | undefined): Date | undefined => {
    if (text === undefined) return undefined;
    const { success, data } = moment().safeParse(text);
    if (success) return data;
    throw fault('ARGUMENT_INVALID', { reason: `${name} takes an age such as 15m, ISO 8601 or a Unix timestamp` });
  };
  return present({ since: parse('--since', since), until: parse('--until', until) });
}
