import { z } from 'zod';
import { limits } from '../limits.ts';

/**
 * Query parameters as zod schemas that parse the text of a URL. Their input is text (a list of texts for `texts`),
 * their output the value that `ConTree` takes, and their metadata goes into OpenAPI.
 */

const required = {
  error: ({ input }: { readonly input: unknown }) => (input === undefined ? 'is required' : undefined),
};

/** Integer within bounds. */
export function integer(min: number, max: number) {
  return z
    .string()
    .transform((text, context) => {
      const number = /^-?\d{1,15}$/u.test(text) ? Number(text) : Number.NaN;
      if (number >= min && number <= max) return number;
      context.issues.push({ code: 'custom', input: text, message: `must be between ${min} and ${max}` });
      return z.NEVER;
    })
    .meta({ type: 'integer', minimum: min, maximum: max });
}

const FLAGS: Readonly<Record<string, boolean>> = { '': true, 1: true, true: true, 0: false, false: false };

/** Boolean: `1`, `true` or empty for yes, `0` or `false` for no. */
export function flag() {
  return z
    .string()
    .transform((text, context) => {
      const value = FLAGS[text.toLowerCase()];
      if (value !== undefined) return value;
      context.issues.push({ code: 'custom', input: text, message: 'must be 1, 0 or empty' });
      return z.NEVER;
    })
    .meta({ enum: ['', '0', '1'] });
}

/** Text of any content up to a length. */
export function anyText(lengthMax: number = limits.pathBytesMax) {
  return z.string().refine((value) => value.length <= lengthMax, `must not be longer than ${lengthMax} characters`);
}

/** Text that is required and not empty. */
export function requiredText(lengthMax: number = limits.pathBytesMax) {
  return z
    .string(required)
    .refine((value) => value !== '', 'is required')
    .refine((value) => value.length <= lengthMax, `must not be longer than ${lengthMax} characters`);
}

const TEXTS_MAX = 1_000;

/** Every occurrence of a parameter. */
export function texts(countMax: number = TEXTS_MAX, lengthMax?: number) {
  return z
    .array(anyText(lengthMax), required)
    .refine((values) => values.length <= countMax, `may be given ${countMax} times at most`)
    .transform((values): readonly string[] => values);
}

/** One of the given words. */
export function choice<const Choice extends string>(...choices: readonly Choice[]) {
  return z.enum(choices, `must be one of ${choices.join(', ')}`);
}

const UNIT_MS: Readonly<Record<string, number>> = { '': 1e3, s: 1e3, m: 6e4, h: 3.6e6, d: 8.64e7, w: 6.048e8 };

/** A bare number from here on is a Unix timestamp (it was in 1973), below it seconds before now (some 30 years). */
const UNIX_SECONDS_MIN = 100_000_000;

/**
 * A point in time: ISO 8601 with `Z`, with an offset or naive (then local time), a Unix timestamp in seconds, or an interval
 * before now: `600s`, `15m`, `1h`, `3d`, `1w`, or bare seconds (contract of the hosted service).
 */
export function moment(now: () => number = Date.now) {
  return z
    .string()
    .transform((given, context) => {
      const value = given.trim();
      const [, amount, unit] = /^(\d{1,15}(?:\.\d{1,9})?)([smhdw]?)$/u.exec(value) ?? [];
      if (amount !== undefined && unit === '' && Number(amount) >= UNIX_SECONDS_MIN) return unixMoment(Number(amount));
      if (amount !== undefined) return new Date(Math.max(0, now() - Number(amount) * (UNIT_MS[unit ?? ''] ?? 1e3)));
      // A plus sign that was not URL-encoded arrives as a space.
      const iso = value.replace(/ (\d\d:?\d\d)$/u, '+$1');
      const date = new Date(/^\d{4}-\d\d-\d\d/u.test(iso) ? iso : Number.NaN);
      if (!Number.isNaN(date.getTime())) return date;
      context.issues.push({
        code: 'custom',
        input: given,
        message: 'must be an ISO 8601 time or an interval such as 15m',
      });
      return z.NEVER;
    })
    .meta({ description: 'ISO 8601, a Unix timestamp, or an interval before now such as 15m, 1h, 3d, 1w, 600s, 600' });
}

/** A timestamp beyond what a `Date` holds is its last moment. */
function unixMoment(seconds: number): Date {
  return new Date(Math.min(seconds * 1_000, 8.64e15));
}

/** The `limit`, `offset`, `since` and `until` of every list. */
export const PAGE = {
  limit: integer(1, limits.pageMax).optional(),
  offset: integer(0, Number.MAX_SAFE_INTEGER).optional(),
  since: moment().optional(),
  until: moment().optional(),
} as const;
