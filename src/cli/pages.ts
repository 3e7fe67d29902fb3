import { limits } from '../contract/limits.ts';
import { fault } from '../contract/errors.ts';

/** Parses a whole number typed by the user. Faults: ARGUMENT_INVALID. */
export function wholeNumber(text: string, name: string, min = 1): number {
  const number = /^\d{1,12}$/u.test(text) ? Number(text) : Number.NaN;
  if (!(number >= min))
    throw fault('ARGUMENT_INVALID', { reason: `${name} takes a whole number, not ${JSON.stringify(text)}` });
  return number;
}

/** Reads as many pages as needed for `limit` entries. */
export async function collectPages<Value>(
  read: (page: { readonly limit: number; readonly offset: number }) => Promise<readonly Value[]>,
  limit = '100',
): Promise<Value[]> {
  const wanted = wholeNumber(limit, '--limit');
  const found: Value[] = [];
  while (found.length < wanted) {
    const page = { limit: Math.min(wanted - found.length, limits.pageMax), offset: found.length };
    const entries = await read(page);
    found.push(...entries);
    if (entries.length < page.limit) break;
  }
  return found;
}
