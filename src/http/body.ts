import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';

/** Issues shown in one answer; the rest is repetition. */
const ISSUES_SHOWN = 5;

export interface ReadOptions {
  /** Dotted fields that old clients send and that mean nothing. */
  readonly tolerated?: readonly string[] | undefined;
  readonly bytesMax?: number | undefined;
}

/**
 * Reads a JSON request body: bounded, parsed, validated. A field that the schema does not know is named in the fault,
 * because a misspelt option that is silently ignored costs its writer an hour. Null for an optional field means absent.
 *
 * Faults: BODY_TOO_LARGE, ARGUMENT_INVALID.
 */
export async function readJson<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
  { tolerated = [], bytesMax = limits.jsonBodyBytesMax }: ReadOptions = {},
): Promise<z.infer<Schema>> {
  const value = parseJson(await readText(request, bytesMax));
  const unknown: string[] = [];
  const known = withoutUnknown(schema, value, '', unknown);
  const strangers = unknown.filter((path) => !tolerated.includes(path));
  if (strangers.length > 0) {
    const names = strangers.slice(0, ISSUES_SHOWN).map((path) => JSON.stringify(path));
    throw fault('ARGUMENT_INVALID', { reason: `unknown field ${names.join(', ')}` });
  }
  const result = schema.safeParse(known);
  if (!result.success) throw fault('ARGUMENT_INVALID', { reason: describe(result.error) });
  return result.data;
}

async function readText(request: Request, limit: number): Promise<string> {
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw fault('BODY_TOO_LARGE', { limit });
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of request.body ?? []) {
    total += chunk.byteLength;
    if (total > limit) throw fault('BODY_TOO_LARGE', { limit });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, total).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = text === '' ? 'a JSON body is required' : 'the body is not JSON';
    throw fault('ARGUMENT_INVALID', { reason }, { cause: error });
  }
}

/** The value without unknown fields (their paths go to `unknown`) and without nulls that mean absent. */
function withoutUnknown(schema: z.ZodType, value: unknown, path: string, unknown: string[]): unknown {
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodArray && Array.isArray(value)) {
    const element = inner.element as z.ZodType;
    return value.map((entry, index) => withoutUnknown(element, entry, `${path}[${index}]`, unknown));
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  if (inner instanceof z.ZodRecord) {
    const valueType = inner.valueType as z.ZodType;
    return mapFields(value, (key, field) => withoutUnknown(valueType, field, join(path, key), unknown));
  }
  if (!(inner instanceof z.ZodObject)) return value;
  const shape = inner.shape as Readonly<Record<string, z.ZodType>>;
  return mapFields(value, (key, field) => {
    const known = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (known === undefined) unknown.push(join(path, key));
    if (known === undefined || (field === null && meansAbsent(known))) return undefined;
    return withoutUnknown(known, field, join(path, key), unknown);
  });
}

/** Null is a value of its own only where the schema says so. */
function meansAbsent(schema: z.ZodType): boolean {
  return schema.safeParse(undefined).success && !schema.safeParse(null).success;
}

function mapFields(value: object, map: (key: string, field: unknown) => unknown): Record<string, unknown> {
  const entries = Object.entries(value).map(([key, field]) => [key, map(key, field)] as const);
  return Object.fromEntries(entries.filter(([, field]) => field !== undefined));
}

function unwrapped(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable)
    return unwrapped(schema.unwrap() as z.ZodType);
  return schema;
}

function join(path: string, key: string): string {
  const shown = key.length > 100 ? `${key.slice(0, 100)}…` : key;
  return path === '' ? shown : `${path}.${shown}`;
}

function describe(error: z.ZodError): string {
  return error.issues
    .slice(0, ISSUES_SHOWN)
    .map(({ path, message }) => `${path.length === 0 ? 'the body' : path.map(String).join('.')}: ${message}`)
    .join('; ')
    .slice(0, 1_000);
}
