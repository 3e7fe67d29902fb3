import type { z } from 'zod';
import { fault } from '../../contract/errors.ts';

/** Returns the expression of a time in milliseconds since 1970. */
export function epochMs(column: string): string {
  return `round(extract(epoch FROM ${column}) * 1000)::float8`;
}

/** Parses JSON of the catalogue, which other versions and administrators write, too. Faults: STORE_CORRUPT. */
export function parsed<Schema extends z.ZodType>(schema: Schema, json: string, what: string): z.infer<Schema> {
  try {
    return schema.parse(JSON.parse(json));
  } catch (error) {
    throw fault('STORE_CORRUPT', { what: `the ${what} in the catalogue`, reason: String(error).slice(0, 200) });
  }
}
