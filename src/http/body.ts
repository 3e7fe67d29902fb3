import { z } from 'zod';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { linesOf } from '../std/json-lines.ts';

/** Issues shown in one answer; the rest is repetition. */
const ISSUES_SHOWN = 5;

export interface ReadOptions {
  /** Dotted fields that old clients send and that mean nothing. */
  readonly tolerated?: readonly string[] | undefined;
  readonly bytesMax?: number | undefined;
}

/** How a list may come as lines. */
export interface LinesOptions {
  readonly field: string;
  /** Of one line, as its list's schema has it. */
  readonly element: z.ZodType;
  readonly linesMax: number;
  /** What the lines are, for the fault of too many. */
  readonly what: string;
  readonly bytesMax: number;
}

/** A request's body, as JSON or, where the route takes them, as lines. Faults: BODY_TOO_LARGE, ARGUMENT_INVALID. */
export async function readBody<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
  options: ReadOptions & { readonly lines?: LinesOptions } = {},
): Promise<z.infer<Schema>> {
  const { lines } = options;
  const type = request.headers.get('content-type') ?? '';
  if (lines === undefined || !/^application\/x-ndjson(?:;|$)/iu.test(type)) return readJson(request, schema, options);
  // Each element was checked with the schema's own.
  return { [lines.field]: await readLines(request, lines) } as z.infer<Schema>;
}

/** A list that comes as one JSON value per line; others get their turn between pieces of it. */
async function readLines(request: Request, { element, what, linesMax, bytesMax }: LinesOptions): Promise<unknown[]> {
  const values: unknown[] = [];
  const body = bounded(request.body ?? [], bytesMax);
  try {
    for await (const line of linesOf(body, limits.jsonLineBytesMax)) {
      if (values.length >= linesMax) throw fault('LAYER_LIMIT', { what, limit: linesMax });
      values.push(check(element, parseJson(line), { where: `line ${values.length + 1}` }));
    }
  } catch (error) {
    if (error instanceof RangeError)
      throw fault('BODY_TOO_LARGE', { limit: limits.jsonLineBytesMax }, { cause: error });
    throw error;
  }
  return values;
}

/**
 * Reads a JSON request body: bounded, parsed, validated. A field that the schema does not know is named in the fault,
 * because a misspelt option that is silently ignored costs its writer an hour. Null for an optional field means absent.
 *
 * Faults: BODY_TOO_LARGE, ARGUMENT_INVALID.
 */
async function readJson<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
  { tolerated = [], bytesMax = limits.jsonBodyBytesMax }: ReadOptions = {},
): Promise<z.infer<Schema>> {
  return check(schema, parseJson(await readText(request, bytesMax)), { tolerated });
}

/** The value as the schema has it; unknown fields are named. `where` says which part of the request it is. */
function check<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  { tolerated = [], where }: { readonly tolerated?: readonly string[]; readonly where?: string },
): z.infer<Schema> {
  const unknown: string[] = [];
  const known = withoutUnknown(schema, value, '', unknown);
  const strangers = unknown.filter((path) => !tolerated.includes(path));
  const prefix = where === undefined ? '' : `${where}: `;
  if (strangers.length > 0) {
    const names = strangers.slice(0, ISSUES_SHOWN).map((path) => JSON.stringify(path));
    throw fault('ARGUMENT_INVALID', { reason: `${prefix}unknown field ${names.join(', ')}` });
  }
  const result = schema.safeParse(known);
  if (!result.success) throw fault('ARGUMENT_INVALID', { reason: `${prefix}${describe(result.error)}` });
  return result.data;
}

async function readText(request: Request, limit: number): Promise<string> {
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw fault('BODY_TOO_LARGE', { limit });
  return Buffer.concat(await Array.fromAsync(bounded(request.body ?? [], limit))).toString('utf8');
}

async function* bounded(body: AsyncIterable<Uint8Array> | Iterable<never>, limit: number): AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const chunk of body) {
    total += chunk.byteLength;
    if (total > limit) throw fault('BODY_TOO_LARGE', { limit });
    yield chunk;
  }
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
  const inner = unwrapped(schema, value);
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

/** The schema itself; of alternatives the one that an object can be meant for. */
function unwrapped(schema: z.ZodType, value: unknown): z.ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) {
    return unwrapped(schema.unwrap() as z.ZodType, value);
  }
  if (!(schema instanceof z.ZodUnion) || typeof value !== 'object') return schema;
  const options = schema.options as readonly z.ZodType[];
  return options.find((option) => option instanceof z.ZodObject) ?? schema;
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
