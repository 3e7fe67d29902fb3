import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';

/** JSON schema of a parameter, as OpenAPI shows it. */
export type ParamSchema = Readonly<Record<string, unknown>>;

/** How one query parameter is written, described and read. */
export interface Param<Value> {
  readonly schema: ParamSchema;
  readonly required?: true;
  /** Whether every occurrence counts; otherwise the last one does. */
  readonly repeats?: true;
  /** `values` has at least one entry. Faults: ARGUMENT_INVALID. */
  readonly read: (values: readonly string[], name: string) => Value;
}

export type Params = Readonly<Record<string, Param<unknown>>>;

/** What `readQuery` makes of a set of parameters; an absent optional one is undefined. */
export type QueryOf<Set extends Params> = {
  readonly [Name in keyof Set]: Set[Name] extends { required: true }
    ? ReturnType<Set[Name]['read']>
    : ReturnType<Set[Name]['read']> | undefined;
};

function invalid(reason: string): Error {
  return fault('ARGUMENT_INVALID', { reason });
}

function last(values: readonly string[]): string {
  return values.at(-1) ?? '';
}

export function integer(min: number, max: number): Param<number> {
  return {
    schema: { type: 'integer', minimum: min, maximum: max },
    read: (values, name) => {
      const value = last(values);
      const number = /^-?\d{1,15}$/u.test(value) ? Number(value) : Number.NaN;
      if (!(number >= min && number <= max)) throw invalid(`${name} must be between ${min} and ${max}`);
      return number;
    },
  };
}

/** `1` or empty for yes, `0` for no. */
export function flag(): Param<boolean> {
  return {
    schema: { type: 'string', enum: ['', '0', '1'] },
    read: (values, name) => {
      const value = last(values).toLowerCase();
      if (value === '' || value === '1' || value === 'true') return true;
      if (value === '0' || value === 'false') return false;
      throw invalid(`${name} must be 1, 0 or empty`);
    },
  };
}

export function text(lengthMax: number = limits.pathBytesMax): Param<string> {
  return {
    schema: { type: 'string' },
    read: (values, name) => {
      const value = last(values);
      if (value.length > lengthMax) throw invalid(`${name} must not be longer than ${lengthMax} characters`);
      return value;
    },
  };
}

/** A text that must be there and not be empty. */
export function requiredText(lengthMax: number = limits.pathBytesMax): Param<string> & { required: true } {
  const { schema, read } = text(lengthMax);
  return {
    schema,
    required: true,
    read: (values, name) => {
      const value = read(values, name);
      if (value === '') throw invalid(`${name} is required`);
      return value;
    },
  };
}

const TEXTS_MAX = 1_000;

export function texts(): Param<readonly string[]> {
  const { schema, read } = text();
  return {
    schema: { type: 'array', items: schema },
    repeats: true,
    read: (values, name) => {
      if (values.length > TEXTS_MAX) throw invalid(`${name} may be given ${TEXTS_MAX} times at most`);
      return values.map((value) => read([value], name));
    },
  };
}

export function requiredTexts(): Param<readonly string[]> & { required: true } {
  return { ...texts(), required: true };
}

export function choice<const Choice extends string>(...choices: readonly Choice[]): Param<Choice> {
  return {
    schema: { type: 'string', enum: choices },
    read: (values, name) => {
      const found = choices.find((candidate) => candidate === last(values));
      if (found === undefined) throw invalid(`${name} must be one of ${choices.join(', ')}`);
      return found;
    },
  };
}

const UNIT_MS: Readonly<Record<string, number>> = { '': 1e3, s: 1e3, m: 6e4, h: 3.6e6, d: 8.64e7, w: 6.048e8 };

/**
 * A moment: ISO 8601 with `Z`, with an offset or naive (then local time), or an interval that means "so long ago":
 * `600s`, `15m`, `1h`, `3d`, `1w`, or bare seconds (reference api.md §1.5).
 */
export function moment(now: () => number = Date.now): Param<Date> {
  return {
    schema: { type: 'string', description: 'ISO 8601, or an interval before now such as 15m, 1h, 3d, 1w, 600s, 600' },
    read: (values, name) => {
      const value = last(values).trim();
      const [, amount, unit] = /^(\d{1,15}(?:\.\d{1,9})?)([smhdw]?)$/u.exec(value) ?? [];
      if (amount !== undefined) return new Date(Math.max(0, now() - Number(amount) * (UNIT_MS[unit ?? ''] ?? 1e3)));
      // A plus sign that was not encoded arrives as a space.
      const iso = value.replace(/ (\d\d:?\d\d)$/u, '+$1');
      const date = /^\d{4}-\d\d-\d\d/u.test(iso) ? new Date(iso) : new Date(Number.NaN);
      if (Number.isNaN(date.getTime())) throw invalid(`${name} must be an ISO 8601 time or an interval such as 15m`);
      return date;
    },
  };
}

/** The `limit`, `offset`, `since` and `until` of every list. */
export const PAGE = {
  limit: integer(1, limits.pageMax),
  offset: integer(0, Number.MAX_SAFE_INTEGER),
  since: moment(),
  until: moment(),
} as const;

/** Reads the known parameters of a query; others are ignored, as clients of other versions send them. */
export function readQuery<Set extends Params>(params: Set, search: URLSearchParams): QueryOf<Set> {
  const entries = Object.entries(params).map(([name, param]) => {
    const values = search.getAll(name);
    if (values.length > 0) return [name, param.read(values, name)] as const;
    if (param.required) throw invalid(`${name} is required`);
    return [name, undefined] as const;
  });
  return Object.fromEntries(entries) as QueryOf<Set>;
}

/** An object without its undefined fields: queries of the contract know absent, not undefined. */
export function present<Value extends object>(value: Value): { [Key in keyof Value]: Exclude<Value[Key], undefined> } {
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof Value]: Exclude<Value[Key], undefined> };
}
