import { z } from 'zod';
import { unframeFiles } from '../../contract/api/bulk.ts';
import type { Row } from '../../contract/api/row.ts';
import { SCHEMAS } from '../../contract/api/schemas.ts';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { Pace } from '../../std/event-loop.ts';
import { JsonTooLarge, readBoundedJson } from '../../std/json-bounds.ts';
import { linesOf } from '../../std/json-lines.ts';
import { oncePer } from '../../std/once-per.ts';
import { atMost } from '../../std/streams.ts';
import { describeIssues } from './issues.ts';
import { modernized } from './legacy.ts';
import { unknownFields } from './unknown-fields.ts';

type Lines = NonNullable<Row['lines']>;

/** Reads the body of a row: JSON, NDJSON, or bytes. Faults: BODY_TOO_LARGE, BODY_TOO_COMPLEX, ARGUMENT_INVALID. */
export async function readBody(request: Request, row: Row): Promise<unknown> {
  const { body, upload, lines, bodyBytesMax = limits.jsonBodyBytesDefault } = row;
  if (upload !== undefined) return uploaded(request, upload, bodyBytesMax);
  if (body === undefined) return undefined;
  const schema = SCHEMAS[body] as z.ZodObject;
  const type = request.headers.get('content-type') ?? '';
  if (lines !== undefined && /^application\/x-ndjson(?:;|$)/iu.test(type)) {
    const { element } = schema.shape[lines.field] as z.ZodArray<z.ZodType>;
    return { [lines.field]: await readLines(request, element, lines) };
  }
  return checked(schema, modernized(body, parseJson(await readText(request, bodyBytesMax))));
}

/** Returns a body of bytes, which fails beyond the limit of an upload. */
function uploaded(request: Request, kind: 'file' | 'files', limit: number): AsyncIterable<Uint8Array> {
  refuseLonger(request, limit);
  const bytes = bodyOf(request, limit);
  return kind === 'file' ? bytes : unframeFiles(bytes);
}

/**
 * Reads a list sent as one JSON value per line. Other requests get their turn in between: one turn of the event loop may
 * deliver megabytes of a body, which are thousands of lines.
 */
async function readLines(
  request: Request,
  element: z.ZodType,
  { what, linesMax, bytesMax }: Lines,
): Promise<unknown[]> {
  const values: unknown[] = [];
  const body = bodyOf(request, bytesMax);
  const pace = new Pace();
  try {
    for await (const line of linesOf(body, limits.jsonLineBytesMax)) {
      if (values.length >= linesMax) throw fault('LAYER_LIMIT', { what, limit: linesMax });
      if (pace.due()) await pace.rest();
      values.push(checked(element, parseJson(line), `line ${values.length + 1}: `));
    }
  } catch (error) {
    if (error instanceof RangeError)
      throw fault('BODY_TOO_LARGE', { limit: limits.jsonLineBytesMax }, { cause: error });
    throw error;
  }
  return values;
}

/**
 * Parses a value with a schema. A field that the schema does not know is named in the fault, because a misspelt option
 * that is silently ignored is hard to find. Null for an optional field means absent. `where` names the part of the
 * request.
 */
function checked(schema: z.ZodType, value: unknown, where = ''): unknown {
  const unknown = unknownFields(value, shapeOf(schema));
  if (unknown !== undefined) throw fault('ARGUMENT_INVALID', { reason: `${where}${unknown}` });
  let result = schema.safeParse(value);
  if (!result.success && dropNulls(value, result.error.issues)) result = schema.safeParse(value);
  if (result.success) return result.data;
  throw fault('ARGUMENT_INVALID', { reason: `${where}${describeIssues(result.error.issues)}` });
}

/** Returns a schema as JSON Schema, converted once. */
const shapeOf = oncePer((schema: z.ZodType) => z.toJSONSchema(schema, { io: 'input' }));

/** Removes the nulls that a schema refused; returns false if there were none. */
function dropNulls(value: unknown, issues: readonly z.core.$ZodIssue[]): boolean {
  let dropped = false;
  for (const { path } of issues) {
    const last = path.at(-1);
    const parent = path.slice(0, -1).reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown>)?.[key], value);
    if (last === undefined || !isObject(parent) || parent[last] !== null) continue;
    delete parent[last];
    dropped = true;
  }
  return dropped;
}

function isObject(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function readText(request: Request, limit: number): Promise<string> {
  refuseLonger(request, limit);
  const { jsonValuesMax: valuesMax, jsonMembersMax: membersMax, jsonDepthMax: depthMax } = limits;
  try {
    return await readBoundedJson(bodyOf(request, limit), { valuesMax, membersMax, depthMax });
  } catch (error) {
    if (error instanceof JsonTooLarge) throw fault('BODY_TOO_COMPLEX', { what: error.what, limit: error.limit });
    throw error;
  }
}

/** Refuses a body by its Content-Length, if there is one, before reading it. */
function refuseLonger(request: Request, limit: number): void {
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw fault('BODY_TOO_LARGE', { limit });
}

function bodyOf({ body }: Request, limit: number): AsyncGenerator<Uint8Array> {
  return atMost(body ?? ReadableStream.from([]), limit, () => fault('BODY_TOO_LARGE', { limit }));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = text === '' ? 'a JSON body is required' : 'the body is not JSON';
    throw fault('ARGUMENT_INVALID', { reason }, { cause: error });
  }
}
